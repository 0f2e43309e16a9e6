package platform_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/platform"
)

const target = "target: {directory: {path: out}}\n"

func TestTellsWhatIsWrongAtItsPlace(t *testing.T) {
	t.Parallel()
	env := func(text string) platform.Files { return platform.Files{"environments/prod.yaml": text} }
	prov := func(text string) platform.Files { return platform.Files{"a.provisioners.yaml": text} }
	for name, c := range map[string]struct {
		files platform.Files
		want  []string
	}{
		"syntax":                {env("target: ["), []string{"ORC-3001 environments/prod.yaml:1:10"}},
		"unknown key":           {env(target + "namspace: x\n"), []string{"ORC-3002 environments/prod.yaml:2:1"}},
		"wrong type":            {env(target + "variables: [a]\n"), []string{"ORC-3003 environments/prod.yaml:2:12"}},
		"no target":             {env("namespace: a\n"), []string{"ORC-3004 environments/prod.yaml:1:1"}},
		"null target":           {env("target: ~\n"), []string{"ORC-3004 environments/prod.yaml:1:1"}},
		"empty file":            {env(""), []string{"ORC-3005 "}},
		"two targets":           {env(`target: {directory: {path: a}, gitops: {repository: "http://b/c"}}`), []string{"ORC-3005 environments/prod.yaml:1:9"}},
		"ssh":                   {env("target: {gitops: {repository: 'ssh://git@git.example/d.git'}}\n"), []string{"ORC-3005 environments/prod.yaml:1:31"}},
		"namespace":             {env(target + "namespace: Prod\n"), []string{"ORC-3005 environments/prod.yaml:2:12"}},
		"confirmDeletes":        {env(target + "confirmDeletes: never\n"), []string{"ORC-3005 environments/prod.yaml:2:17"}},
		"whenPlanDiffers":       {env(target + "whenPlanDiffers: ask\n"), []string{"ORC-3005 environments/prod.yaml:2:18"}},
		"path outside":          {env(`target: {gitops: {repository: "http://u/c", path: ../x}}`), []string{"ORC-3005 environments/prod.yaml:1:51"}},
		"absolute path":         {env(`target: {gitops: {repository: "http://u/c", path: /x}}`), []string{"ORC-3005 environments/prod.yaml:1:51"}},
		"replicas":              {env(target + "defaults: {replicas: -1}\n"), []string{"ORC-3005 environments/prod.yaml:2:22"}},
		"seccomp":               {env(target + "defaults: {security: {seccomp: None}}\n"), []string{"ORC-3005 environments/prod.yaml:2:32"}},
		"cpu":                   {env(target + "defaults: {limits: {cpu: lots}}\n"), []string{"ORC-3005 environments/prod.yaml:2:26"}},
		"memory":                {env(target + "defaults: {requests: {memory: 1GB}}\n"), []string{"ORC-3005 environments/prod.yaml:2:31"}},
		"image pattern":         {platform.Files{"platform.yaml": "defaults: {images: {allow: ['[a']}}\n"}, []string{"ORC-3005 platform.yaml:1:29"}},
		"environment's name":    {platform.Files{"environments/Prod_1.yaml": target}, []string{"ORC-3005 environments/Prod_1.yaml"}},
		"one folder for two":    {platform.Files{"environments/aa.yaml": target, "environments/bb.yaml": target}, []string{"ORC-3005 environments/bb.yaml:1:9"}},
		"a file without sense":  {platform.Files{"notes.yaml": "a: b"}, []string{"ORC-3101 notes.yaml"}},
		"cmd":                   {prov("- {uri: 'cmd://bash#x', type: a, args: [x]}\n"), []string{"ORC-3102 a.provisioners.yaml:1:3"}},
		"unknown kind":          {prov("- {uri: 'temlpate://x', type: a}\n"), []string{"ORC-3102 a.provisioners.yaml:1:3"}},
		"template":              {prov("- {uri: 'template://x', type: a, state: '{{ nope }}'}\n"), []string{"ORC-3103 a.provisioners.yaml:1:3"}},
		"clock":                 {prov("- {uri: 'template://x', type: a, state: 'a: {{ now }}'}\n"), []string{"ORC-3103 a.provisioners.yaml:1:3"}},
		"outputs of a template": {prov("- {uri: 'template://x', type: a, outputs: {a: b}}\n"), []string{"ORC-3104 a.provisioners.yaml:1:3"}},
		"outputs of a static":   {prov("- {uri: 'static://x', type: a, outputs: 'a: b'}\n"), []string{"ORC-3104 a.provisioners.yaml:1:3"}},
		"state of a static":     {prov("- {uri: 'static://x', type: a, state: 'a: b'}\n"), []string{"ORC-3104 a.provisioners.yaml:1:3"}},
		"half a secretRef":      {prov("- {uri: 'static://x', type: a, outputs: {p: {secretRef: {name: x}}}}\n"), []string{"ORC-3104 a.provisioners.yaml:1:3"}},
		"promise of a static":   {prov("- {uri: 'static://x', type: a, outputs: {p: 1}, expected_outputs: [p, q]}\n"), []string{"ORC-3104 a.provisioners.yaml:1:3"}},
		"no uri":                {prov("- {uri: ~, type: a}\n"), []string{"ORC-3004 a.provisioners.yaml:1:3"}},
		"no type":               {prov("- {uri: 'template://x', type: ''}\n"), []string{"ORC-3004 a.provisioners.yaml:1:3"}},
		"several": {platform.Files{"environments/aa.yaml": "x: 1\n", "platform.yaml": "y: 1\n"},
			[]string{"ORC-3002 environments/aa.yaml:1:1", "ORC-3002 platform.yaml:1:1", "ORC-3004 environments/aa.yaml:1:1"}},
	} {
		p, faults := platform.Load(c.files)
		var got []string
		for _, f := range faults {
			got = append(got, fmt.Sprintf("%s %s", f.Code, f.Place))
		}
		slices.Sort(got)
		if name == "syntax" || name == "empty file" {
			for i := range got {
				got[i], _, _ = strings.Cut(got[i], " ")
				c.want[i], _, _ = strings.Cut(c.want[i], " ")
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s%v", name, diff, faults)
		}
		if (p == nil) != (faults.Err() != nil) {
			t.Errorf("%s: a platform comes with faults that stop", name)
		}
	}
}

func TestEnvironmentDecidesBeforePlatformBeforeBuiltIn(t *testing.T) {
	t.Parallel()
	p, faults := platform.Load(platform.Files{
		"platform.yaml": `defaults:
  replicas: 2
  requests: {cpu: 100m, memory: 64Mi}
  limits: {memory: 1Gi}
  serviceAccountToken: true
  imagePullSecrets: [one]
  images: {allow: ["ghcr.io/**"], denyLatest: true, requireDigest: true}
  security: {runAsNonRoot: true, runAsUser: 1, runAsGroup: 2, fsGroup: 3, readOnlyRootFilesystem: true, allowPrivilegeEscalation: true, dropCapabilities: [ALL], seccomp: Unconfined}
`,
		"environments/own.yaml": `target: {directory: {path: own}}
defaults:
  replicas: 0
  requests: {cpu: 200m}
  serviceAccountToken: false
  imagePullSecrets: []
  images: {denyLatest: false, allow: [nginx]}
  security: {runAsNonRoot: false, runAsUser: 0, dropCapabilities: [], seccomp: RuntimeDefault}
`,
		"environments/plain.yaml": "target: {directory: {path: plain}}\n",
	})
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	own, plain := p.Environments["own"].Defaults, p.Environments["plain"].Defaults
	want := platform.Defaults{
		Replicas: new(int32(0)), Requests: platform.Resources{CPU: "200m", Memory: "64Mi"}, Limits: platform.Resources{Memory: "1Gi"},
		ServiceAccountToken: new(false), ImagePullSecrets: []string{},
		Images: platform.Images{Allow: []string{"nginx"}, DenyLatest: new(false), RequireDigest: new(true)},
		Security: platform.Security{
			RunAsNonRoot: new(false), RunAsUser: new(int64(0)), RunAsGroup: new(int64(2)), FSGroup: new(int64(3)),
			ReadOnlyRootFilesystem: new(true), AllowPrivilegeEscalation: new(true), DropCapabilities: []string{}, Seccomp: "RuntimeDefault",
		},
	}
	if diff := cmp.Diff(want, own); diff != "" {
		t.Error(diff)
	}
	if *plain.Replicas != 2 || !*plain.ServiceAccountToken || plain.Security.Seccomp != "Unconfined" {
		t.Errorf("got %+v", plain)
	}
	bare, _ := platform.Load(platform.Files{"environments/a.yaml": target})
	if d := bare.Environments["a"].Defaults; *d.ServiceAccountToken || *d.Security.AllowPrivilegeEscalation || d.Security.Seccomp != "RuntimeDefault" || d.Replicas != nil {
		t.Errorf("built in: %+v", d)
	}
	e := bare.Environments["a"]
	if e.ConfirmDeletes != "stateful" || e.WhenPlanDiffers != "apply" {
		t.Errorf("got %+v", e)
	}
}

func TestGitOpsTargetsAreCompletedWithDefaults(t *testing.T) {
	t.Parallel()
	p, faults := platform.Load(platform.Files{"environments/prod.yaml": "target: {gitops: {repository: https://git.example/d.git, argocd: {}}}\n"})
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	want := &platform.GitOpsTarget{
		Repository: "https://git.example/d.git", Branch: "main", Path: "environments/prod",
		ArgoCD: &platform.ArgoCD{Namespace: "argocd", Project: "default", Server: "https://kubernetes.default.svc", Repository: "https://git.example/d.git"},
	}
	got := p.Environments["prod"].Target
	if diff := cmp.Diff(want, got.GitOps); diff != "" {
		t.Error(diff)
	}
	if got.String() != "gitops https://git.example/d.git main:environments/prod" {
		t.Error(got.String())
	}
}

func TestTheFirstProvisionerThatMatchesIsAsked(t *testing.T) {
	t.Parallel()
	p, faults := platform.Load(platform.Files{"b.provisioners.yaml": "- {uri: 'static://any', type: postgres}\n", "a.provisioners.yaml": `
- {uri: 'static://one', type: postgres, id: main}
- {uri: 'static://big', type: postgres, class: big}
`})
	if faults.Err() != nil {
		t.Fatal(faults)
	}
	for want, ask := range map[string][3]string{
		"static://one": {"postgres", "big", "main"}, "static://big": {"postgres", "big", ""}, "static://any": {"postgres", "default", ""},
		"template://reconciler/redis": {"redis", "default", ""},
	} {
		if got := p.Provisioner(ask[0], ask[1], ask[2]); got == nil || got.URI != want {
			t.Errorf("%v: %+v", ask, got)
		}
	}
	if p.Provisioner("nothing", "default", "") != nil || !slices.IsSorted(p.Types()) {
		t.Error("an unknown type has a provisioner")
	}
	if _, err := p.Environment("prd"); err == nil {
		t.Error("an unknown environment is there")
	}
}

func TestTheDigestChangesWithEveryFile(t *testing.T) {
	t.Parallel()
	digest := func(files platform.Files) string {
		p, faults := platform.Load(files)
		if faults.Err() != nil {
			t.Fatal(faults)
		}
		return p.Digest
	}
	base := digest(platform.Files{"environments/a.yaml": target})
	if base != digest(platform.Files{"environments/a.yaml": target}) {
		t.Error("the same files have another digest")
	}
	for _, files := range []platform.Files{
		{"environments/a.yaml": target + "# x\n"}, {"environments/b.yaml": target}, {"environments/a.yaml": target, "platform.yaml": ""},
	} {
		if digest(files) == base {
			t.Errorf("%v has the same digest", files)
		}
	}
}

func TestReadsYAMLFilesOfAFolder(t *testing.T) {
	t.Parallel()
	files, err := platform.Read(fstest.MapFS{
		"platform.yaml": {Data: []byte("a")}, "environments/a.yml": {Data: []byte("b")}, "README.md": {Data: []byte("c")}, ".git/x.yaml": {Data: []byte("d")},
	})
	if diff := cmp.Diff(platform.Files{"platform.yaml": "a", "environments/a.yml": "b"}, files); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := platform.Read(fstest.MapFS{"big.yaml": {Data: make([]byte, 5<<20)}}); err == nil {
		t.Error("a huge file is read")
	}
}

func TestReadsAMountedConfigMap(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "..2026_11", "environments"), 0o755))
	must(os.WriteFile(filepath.Join(root, "..2026_11", "platform.yaml"), []byte("a"), 0o600))
	must(os.WriteFile(filepath.Join(root, "..2026_11", "environments", "prod.yaml"), []byte("b"), 0o600))
	for link, to := range map[string]string{
		"..data": "..2026_11", "platform.yaml": "..data/platform.yaml", "environments": "..data/environments", ".#lock": "nowhere",
	} {
		must(os.Symlink(to, filepath.Join(root, link)))
	}
	files, err := platform.Read(os.DirFS(root))
	if diff := cmp.Diff(platform.Files{"platform.yaml": "a", "environments/prod.yaml": "b"}, files); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	must(os.Symlink(".", filepath.Join(root, "round")))
	if _, err := platform.Read(os.DirFS(root)); err == nil {
		t.Error("links that go round in a circle are read")
	}
	must(os.Remove(filepath.Join(root, "round")))
	must(os.Symlink("nowhere", filepath.Join(root, "gone.provisioners.yaml")))
	if _, err := platform.Read(os.DirFS(root)); err == nil {
		t.Error("a file that is not there is left out silently")
	}
}

func TestEnvironmentsDoNotWriteIntoEachOther(t *testing.T) {
	t.Parallel()
	const one = "target: {directory: {path: out}}\n"
	gitops := func(branch, path, secrets string) string {
		return "target: {gitops: {repository: 'https://git.example/d.git', branch: " + branch + ", path: " + path + ", secrets: " + secrets + "}}\n"
	}
	for other, refused := range map[string]bool{
		"target: {directory: {path: out}}\n": true, "target: {directory: {path: ./out/}}\n": true, "target: {directory: {path: out/b}}\n": true,
		"target: {directory: {path: .}}\n": true, "target: {directory: {path: outer}}\n": false, "target: {directory: {path: /out}}\n": false,
		gitops("main", "x", "out"): true, gitops("main", "x", "secrets"): false,
	} {
		_, faults := platform.Load(platform.Files{"environments/a.yaml": one, "environments/b.yaml": other})
		if (faults.Err() != nil) != refused {
			t.Errorf("%s: %v", other, faults)
		}
	}
	for other, refused := range map[string]bool{gitops("main", "x", "s"): true, gitops("main", "x/y", "s"): true, gitops("next", "x", "s"): false, gitops("main", "y", "s"): false} {
		_, faults := platform.Load(platform.Files{"environments/a.yaml": gitops("main", "x", "t"), "environments/b.yaml": other})
		if (faults.Err() != nil) != refused {
			t.Errorf("%s: %v", other, faults)
		}
	}
}

// What docs/paths.md shows is a platform configuration that works.
func TestTheDocumentedGoldenPathsAreValid(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/paths.md")
	if err != nil {
		t.Fatal(err)
	}
	files := platform.Files{}
	for _, block := range strings.Split(string(page), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		name, content, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		files[name] = content
	}
	p, faults := platform.Load(files)
	if faults != nil {
		t.Fatal(faults)
	}
	if len(p.Paths) != 2 || p.Environments["production"].Path != "careful" {
		t.Errorf("paths %v", p.Paths)
	}
	for name, want := range map[string][]string{"careful": {"careful", "smoke"}, "smoke": {"smoke"}, "none": nil} {
		if got := slices.Sorted(maps.Keys(p.PathTexts(name))); !slices.Equal(got, want) {
			t.Errorf("%s is made of %v, want %v", name, got, want)
		}
	}
}

func TestAnEnvironmentsPathMustDeploy(t *testing.T) {
	t.Parallel()
	_, faults := platform.Load(platform.Files{
		"environments/production.yaml": "target: {directory: {path: out}}\npath: nothing\n", "paths/nothing.yaml": "steps: [{id: one, wait: 1s}]\n",
	})
	if len(faults) != 1 || faults[0].Place.String() != "environments/production.yaml:2:7" || !strings.Contains(faults[0].Message, "deploys the release 0 times") {
		t.Errorf("told %v", faults)
	}
}
