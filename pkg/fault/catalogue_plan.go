package fault

// Codes of plans and releases (4xxx): what stops a valid Score file from becoming something that runs.
const (
	ResourceType       Code = "ORC-4001"
	ResourceParam      Code = "ORC-4002"
	ResourceProvision  Code = "ORC-4003"
	ResourceOutputs    Code = "ORC-4004"
	ResourceShape      Code = "ORC-4005"
	ResourceShared     Code = "ORC-4006"
	ResourceLeak       Code = "ORC-4007"
	ResourceManifest   Code = "ORC-4008"
	NameTaken          Code = "ORC-4009"
	ObjectTwice        Code = "ORC-4010"
	FileMissing        Code = "ORC-4011"
	ResourceOtherMaker Code = "ORC-4012"
	ObjectTaken        Code = "ORC-4013"
	FolderTaken        Code = "ORC-4014"

	RenderKind      Code = "ORC-4101"
	RenderName      Code = "ORC-4102"
	RenderImage     Code = "ORC-4103"
	ImagePolicy     Code = "ORC-4104"
	RenderOrder     Code = "ORC-4105"
	RenderMount     Code = "ORC-4106"
	RenderPort      Code = "ORC-4107"
	RenderProbe     Code = "ORC-4108"
	RenderResources Code = "ORC-4109"
	RenderSecret    Code = "ORC-4110"
	RenderSize      Code = "ORC-4111"
	RenderVolume    Code = "ORC-4112"
	SecretInGit     Code = "ORC-4113"
	// RenderAnnotation: an annotation that instructs the renderer has no effect.
	RenderAnnotation Code = "ORC-4114"
	// RenderProbeValue: a probe says something that Kubernetes does not take, or that can never succeed.
	RenderProbeValue Code = "ORC-4115"

	PlanUnknown     Code = "ORC-4201"
	PlanNotWaiting  Code = "ORC-4202"
	PlanOutdated    Code = "ORC-4203"
	DeletesAll      Code = "ORC-4204"
	DeletesStateful Code = "ORC-4205"
	PlanDiffers     Code = "ORC-4206"
	AppUnknown      Code = "ORC-4207"
	ReleaseUnknown  Code = "ORC-4208"
	RevisionUnknown Code = "ORC-4209"
)

var plan = map[Code]Entry{
	ResourceType: {
		Title: "No provisioner for a resource", Class: Permanent,
		Why:    "A Score resource asks for a type (and class or id) that no provisioner of the platform fulfils. A resource is never ignored.",
		Remedy: "Correct the type or class, or ask the platform team for a provisioner; `reconciler resources types` lists what there is.",
	},
	ResourceParam: {
		Title: "A resource has a param that its provisioner does not know", Class: Permanent,
		Why:    "The provisioner lists the params that it supports, and a misspelled one would silently be without effect.",
		Remedy: "Correct or remove the param.",
	},
	ResourceProvision: {
		Title: "A provisioner refuses a resource", Class: Permanent,
		Why:    "The provisioner's template failed for this resource, most often because a param is missing or not possible.",
		Remedy: "Correct the resource's params as the message says.",
	},
	ResourceOutputs: {
		Title: "A provisioner does not give what it promises", Class: Permanent,
		Why:    "The provisioner lists outputs that its template did not render.",
		Remedy: "The platform team has to correct the provisioner.",
	},
	ResourceShape: {
		Title: "A value would change the structure of a manifest", Class: Permanent,
		Why:    "The value holds characters that have a meaning in YAML, and the provisioner's template writes them without quotes. Deploying it could add fields or objects that nobody decided on.",
		Remedy: "Change the value, or ask the platform team to quote it in the provisioner.",
	},
	ResourceShared: {
		Title: "A shared resource is described differently in two places", Class: Permanent,
		Why:    "Resources with the same type, class and id are one resource, and another application gives it other params.",
		Remedy: "Give the params in one of the Score files only.",
	},
	ResourceLeak: {
		Title: "A provisioner writes a secret value where everybody can read it", Class: Permanent,
		Why:    "A value of a Secret stands in clear text in another object, which plans, Git and anyone who may list objects would show.",
		Remedy: "The platform team has to use encodeSecretRef in the provisioner instead of the value.",
	},
	ResourceManifest: {
		Title: "A provisioner renders something that is not a Kubernetes object", Class: Permanent,
		Why:    "Each manifest needs apiVersion, kind and metadata.name.",
		Remedy: "The platform team has to correct the provisioner.",
	},
	NameTaken: {
		Title: "A workload's name belongs to another application", Class: Refused,
		Why:    "The first application that uses a name in an environment owns it; nobody else can take it over.",
		Remedy: "Choose another metadata.name, or remove the application that owns it first.",
	},
	ObjectTaken: {
		Title: "An object belongs to another application", Class: Conflict,
		Why:    "The first application of an environment that has an object owns it; another one of the same kind, namespace and name would overwrite it.",
		Remedy: "Choose another name for the workload, container, resource or Service that makes it, or remove the application that owns it first.",
	},
	FolderTaken: {
		Title: "Something of another application lies under a workload's name", Class: Conflict,
		Why:    "The application that had the name before has not removed everything yet: nobody confirmed that its data goes, or its next deployment is still to come.",
		Remedy: "Choose another metadata.name, or have the application that had it deployed; where its plan waits, somebody has to confirm that the data goes.",
	},
	ObjectTwice: {
		Title: "Two parts of a release make the same object", Class: Permanent,
		Why:    "The workload and its resources, or two resources, render an object of the same kind and name.",
		Remedy: "Rename the workload or the resource, or ask the platform team to make the provisioner's names unique.",
	},
	FileMissing: {
		Title: "A file that the workload refers to cannot be used", Class: Permanent,
		Why:    "files.source names a path relative to the Score file; it must be a regular file of the same commit, inside the repository and not too large.",
		Remedy: "Correct the path, or add the file to the commit.",
	},
	ResourceOtherMaker: {
		Title: "A resource would be taken over by another provisioner", Class: Refused,
		Why:    "The platform configuration now fulfils the resource with another provisioner than the one that made it; its data would be lost or orphaned.",
		Remedy: "Remove the resource first and add it again, or let the platform team restore the provisioner's uri.",
	},
	RenderKind: {
		Title: "The workload's kind cannot be rendered", Class: Permanent,
		Why:    "The annotation k8s.score.dev/kind knows Deployment and StatefulSet.",
		Remedy: "Write Deployment or StatefulSet, or remove the annotation: without it the workload is a Deployment.",
	},
	RenderName: {
		Title: "Kubernetes refuses a name", Class: Permanent,
		Why:    "The Score specification allows names that Kubernetes does not accept for the object that is made of them.",
		Remedy: "Choose a name that Kubernetes accepts, too; the message says what it takes.",
	},
	RenderImage: {
		Title: "A container has no image that can be used", Class: Permanent,
		Why:    "The image \".\" means that it is supplied at deployment; with GitOps, the commit has to supply it. A name with blanks in it names nothing.",
		Remedy: "Write the image into the Score file, or into score.ENVIRONMENT.yaml beside it.",
	},
	ImagePolicy: {
		Title: "An image is not allowed", Class: Permanent,
		Why:    "The platform's image policy decides where images come from and how they are pinned.",
		Remedy: "Use an image that the policy allows.",
	},
	RenderOrder: {
		Title: "The order of containers cannot be rendered", Class: Permanent,
		Why:    "before is rendered as init containers and sidecars, and Kubernetes has rules for both.",
		Remedy: "Change before or the probes as the message says.",
	},
	RenderMount: {
		Title: "A mount is not possible", Class: Permanent,
		Why:    "Targets of files and volumes are absolute paths, each used once in a container.",
		Remedy: "Correct the target.",
	},
	RenderPort: {
		Title: "Two service ports are the same", Class: Permanent,
		Why:    "A Service cannot listen twice on one port and protocol.",
		Remedy: "Give one of them another port.",
	},
	RenderProbe: {
		Title: "Only one check of a probe is used", Class: Permanent,
		Why:    "The Score file gives both exec and httpGet, and Kubernetes runs one.",
		Remedy: "Remove the one that is not needed.",
	},
	RenderResources: {
		Title: "A container's resources are not possible", Class: Permanent,
		Why:    "Requests and limits must be quantities of Kubernetes, and a request at most the limit.",
		Remedy: "Correct the quantities.",
	},
	RenderSecret: {
		Title: "A file mixes text with a secret that is not known", Class: Permanent,
		Why:    "The value of the Secret exists only in the cluster, so the file's content cannot be put together.",
		Remedy: "Let the whole file be the secret, or pass the secret as a variable.",
	},
	RenderSize: {
		Title: "Files are too large", Class: Permanent,
		Why:    "Kubernetes stores files of a workload in a ConfigMap or Secret of at most 1 MiB.",
		Remedy: "Put large files into the image or on a volume.",
	},
	RenderVolume: {
		Title: "A volume cannot be mounted", Class: Permanent,
		Why:    "A volume's source is ${resources.NAME} of a resource whose outputs describe a volume of Kubernetes.",
		Remedy: "Declare a resource of type volume and name it as the source.",
	},
	SecretInGit: {
		Title: "A secret value would be committed", Class: Refused,
		Why:    "The environment commits manifests to Git, and a Secret of this release holds values.",
		Remedy: "Set target.gitops.secrets in the environment, or use provisioners that refer to Secrets of the cluster.",
	},
	RenderAnnotation: {
		Title: "An annotation has no effect", Class: Permanent,
		Why:    "Annotations that begin with k8s.score.dev/ are instructions, and this one is not known or has nothing to act on.",
		Remedy: "Correct or remove it; k8s.score.dev/kind and k8s.score.dev/service-name are known.",
	},
	RenderProbeValue: {
		Title: "A probe is not possible", Class: Permanent,
		Why:    "The Score specification allows values in probes that Kubernetes refuses or that no probe can be made with, such as an empty command.",
		Remedy: "Correct the value as the message says.",
	},
	PlanUnknown: {
		Title: "There is no such plan", Class: Permanent,
		Why:    "No plan has this id.",
		Remedy: "`reconciler plans` lists the plans.",
	},
	PlanNotWaiting: {
		Title: "The plan does not wait for a confirmation", Class: Permanent,
		Why:    "It needs none, or somebody confirmed it already.",
		Remedy: "Nothing has to be done.",
	},
	PlanOutdated: {
		Title: "The plan is no longer the newest", Class: Conflict,
		Why:    "The commit, the stored state or the platform configuration changed after the plan was made.",
		Remedy: "Look at the newest plan of the application and confirm that one.",
	},
	DeletesAll: {
		Title: "Everything of a repository would be deleted", Class: Refused,
		Why:    "The commit has no Score file any more, but applications of the repository run in the environment.",
		Remedy: "If this is meant, confirm each removal with `reconciler plans confirm PLAN`; otherwise restore the files.",
	},
	DeletesStateful: {
		Title: "Deleting data needs a confirmation", Class: Refused,
		Why:    "The plan deletes or replaces a resource that holds data.",
		Remedy: "If this is meant, run `reconciler plans confirm PLAN`; otherwise restore the resource in the Score file.",
	},
	PlanDiffers: {
		Title: "The plan is not the one that the pull request showed", Class: Refused,
		Why:    "Between the review and the merge the stored state or the platform configuration changed, and the environment stops in this case.",
		Remedy: "Look at the new plan and confirm it with `reconciler plans confirm PLAN`.",
	},
	AppUnknown: {
		Title: "There is no such application", Class: Permanent,
		Why:    "No application of that name is known in the environment.",
		Remedy: "`reconciler apps` lists all of them; `reconciler revisions REPOSITORY` tells of files that were never valid.",
	},
	ReleaseUnknown: {
		Title: "There is no such release", Class: Permanent,
		Why:    "The application has no release of that generation in the environment.",
		Remedy: "`reconciler releases APP` lists them.",
	},
	RevisionUnknown: {
		Title: "Nothing is known about the commit", Class: Permanent,
		Why:    "The commit was not yet looked at, or never was the newest one of a branch or pull request that is followed.",
		Remedy: "`reconciler revisions REPOSITORY` lists the newest commits that were looked at.",
	},
}
