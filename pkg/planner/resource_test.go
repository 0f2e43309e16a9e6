package planner_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
)

const testProvisioners = `
- uri: template://test/echo
  type: echo
  outputs: |
    {{- range $k, $v := .Params }}
    {{ $k }}: {{ $v | toJson }}
    {{- end }}
    meta: {{ .Metadata | toJson }}
    source: {{ .SourceWorkload }}
- uri: template://test/leaky
  type: leaky
  manifests: |
    - {apiVersion: v1, kind: Secret, metadata: {name: leaky}, stringData: {password: {{ .Params.value | quote }}}}
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: leaky}, data: {password: {{ .Params.value | quote }}}}
- uri: template://test/list
  type: list
  manifests: |
    - apiVersion: v1
      kind: List
      metadata: {name: many}
      items:
      - {apiVersion: v1, kind: Secret, metadata: {name: inner}, stringData: {password: hidden-in-a-list}}
- uri: template://test/broken
  type: broken
  outputs: |
    {{ fail "nobody can have this" }}
  expected_outputs: [host]
- uri: template://test/careless
  type: careless
  init: |
    # a line
    path: {{ trimPrefix "/" .Params.path }}
- uri: template://test/promises
  type: promises
  outputs: "a: 1"
  expected_outputs: [a, b]
- uri: template://test/nameless
  type: nameless
  manifests: "[{apiVersion: v1, kind: ConfigMap}]"
- uri: template://test/twice
  type: twice
  manifests: "[{apiVersion: apps/v1, kind: Deployment, metadata: {name: shop}}]"
- uri: template://test/unquoted
  type: unquoted
  outputs: |
    value: {{ .Params.value }}
- uri: template://test/counter
  type: counter
  state: |
    {{- $_ := set .State "seen" (add 1 (default 0 .State.seen)) }}
    {{- $_ := set .Params "extra" "x" }}
    seen: {{ .State.seen }}
  outputs: |
    seen: {{ .State.seen }}
- uri: static://test/fixed
  type: fixed
  outputs: {host: mail.example, password: {secretRef: {name: relay, key: password}}}
  expected_outputs: [host, password]
`

func testWorld(t *testing.T) *world {
	t.Helper()
	return newWorld(t, platform.Files{"test.provisioners.yaml": testProvisioners})
}

func TestRefusesAtThePlaceInTheScoreFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file       string
		code       fault.Code
		suggestion string
	}{
		"unknown type":          {workload("shop", "resources:\n  db: {type: »postgress}\n"), fault.ResourceType, "postgres"},
		"unknown param":         {workload("shop", "resources:\n  way: {type: route, params: {host: h, path: /, port: 80, »hots: x}}\nservice: {ports: {web: {port: 80}}}\n"), fault.ResourceParam, "host"},
		"param of a fixed one":  {workload("shop", "resources:\n  mail: {type: fixed, params: {»host: x}}\n"), fault.ResourceParam, ""},
		"param of environment":  {workload("shop", "resources:\n  env: {type: environment, params: {»host: x}}\n"), fault.ResourceParam, ""},
		"unknown output":        {workload("shop", "    variables: {A: \"»${resources.db.hots}\"}\nresources: {db: {type: postgres}}\n"), fault.ScoreOutput, "host"},
		"unknown variable":      {workload("shop", "    variables: {A: \"»${resources.env.REGIO}\"}\nresources: {env: {type: environment}}\n"), fault.ScoreOutput, "REGION"},
		"unknown output, param": {workload("shop", "resources:\n  db: {type: postgres}\n  ee: {type: echo, params: {a: \"»${resources.db.hots}\"}}\n"), fault.ScoreOutput, "host"},
		"deep unknown output":   {workload("shop", "    variables: {A: »\"${resources.ee.a.c}\"}\nresources: {ee: {type: echo, params: {a: {b: x}}}}\n"), fault.ScorePlaceholder, ""},
		"refusing provisioner":  {workload("shop", "    variables: {A: \"${resources.bb.host}\"}\nresources:\n  »bb: {type: broken}\n"), fault.ResourceProvision, ""},
		"promise not kept":      {workload("shop", "resources:\n  »pp: {type: promises}\n"), fault.ResourceOutputs, ""},
		"manifest without name": {workload("shop", "resources:\n  »nn: {type: nameless}\n"), fault.ResourceManifest, ""},
		"a list of objects":     {workload("shop", "resources:\n  »ll: {type: list}\n"), fault.ResourceManifest, ""},
		"object twice":          {"apiVersion: score.dev/v1b1\nmetadata:\n  name: »shop\ncontainers: {main: {image: a}}\nresources: {tt: {type: twice}}\n", fault.ObjectTwice, ""},
		"shape":                 {workload("shop", "resources:\n  uu: {type: unquoted, params: {value: »\"x\\nadmin: true\"}}\n"), fault.ResourceShape, ""},
		"leak":                  {workload("shop", "resources:\n  »ll: {type: leaky, params: {value: \"a-long-secret\"}}\n"), fault.ResourceLeak, ""},
		"escaped leak":          {workload("shop", "resources:\n  »ll: {type: leaky, params: {value: \"a<long>&\\\"secret\"}}\n"), fault.ResourceLeak, ""},
		"volume without ${}":    {workload("shop", "    volumes: {/d: {source: »data}}\nresources: {data: {type: volume}}\n"), fault.RenderVolume, "${resources.data}"},
		"absolute source":       {workload("shop", "    files: {/a: {source: »/etc/passwd}}\n"), fault.FileMissing, ""},
		"source outside":        {workload("shop", "    files: {/a: {source: »../../etc/passwd}}\n"), fault.FileMissing, ""},
		"source that climbs":    {workload("shop", "    files: {/a: {source: »x/../../../passwd}}\n"), fault.FileMissing, ""},
		"missing source":        {workload("shop", "    files: {/a: {source: »missing.txt}}\n"), fault.FileMissing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := testWorld(t).refused(c.file)
			if diff := cmp.Diff([]string{string(c.code), c.suggestion}, []string{string(f.Code), f.Suggestion}); diff != "" {
				t.Errorf("%v: %s", f, diff)
			}
		})
	}
}

func TestSaysWhichParamsAProvisionerTakes(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"resources:\n  way: {type: route, params: {host: h, path: /, port: 80, »hots: x}}\nservice: {ports: {web: {port: 80}}}\n": "Its params are host, path, port.",
		"resources:\n  db: {type: postgres, params: {»size: 1}}\n":                                                                "Remove it: resources of type postgres take no params.",
	} {
		if got := testWorld(t).refused(workload("shop", file)).Advice(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProvisionersSayWhatIsWrongWithAParamAtItsPlace(t *testing.T) {
	t.Parallel()
	const number = "the name or number of a port of "
	for file, want := range map[string]string{
		"»way: {type: route, params: {path: /, port: 80}}":                 "resource way: param host is missing: it is the host name that the route is for",
		"»way: {type: route}":                                              "resource way: param host is missing: it is the host name that the route is for",
		"way: {type: route, params: {host: »{a: b}, port: 80}}":            `resource way: param host must be a host name, got {"a":"b"}`,
		"way: {type: route, params: {host: »7, port: 80}}":                 "resource way: param host must be a host name, got 7",
		"way: {type: route, params: {host: »a b, port: 80}}":               `resource way: param host must be a host name, got "a b"`,
		"way: {type: route, params: {host: a, path: »7, port: 80}}":        "resource way: param path must be a text that begins with /, got 7",
		"way: {type: route, params: {host: a, path: »false, port: 80}}":    "resource way: param path must be a text that begins with /, got false",
		"way: {type: route, params: {host: a, path: »x, port: 80}}":        `resource way: param path must be a text that begins with /, got "x"`,
		"»way: {type: route, params: {host: a}}":                           "resource way: param port is missing: it is " + number + "the workload's service",
		"way: {type: route, params: {host: a, port: »81}}":                 "resource way: param port must be " + number + "the workload's service, got 81",
		"way: {type: route, params: {host: a, port: »[80]}}":               "resource way: param port must be " + number + "the workload's service, got [80]",
		"»api: {type: service-port, params: {port: 80}}":                   "resource api: param workload is missing: it is the name of another workload of this environment",
		"api: {type: service-port, params: {workload: »{a: b}, port: 80}}": `resource api: param workload must be a workload of this environment with a service, got {"a":"b"}`,
		"»api: {type: service-port, params: {workload: shop}}":             "resource api: param port is missing: it is " + number + "that workload's service",
		"api: {type: service-port, params: {workload: shop, port: »grpc}}": "resource api: param port must be " + number + `the service of shop, got "grpc"`,
		"topic: {type: kafka-topic, params: {partitions: »many}}":          `resource topic: param partitions must be a whole number above 0, got "many"`,
		"topic: {type: kafka-topic, params: {partitions: »0}}":             "resource topic: param partitions must be a whole number above 0, got 0",
		"»bb: {type: broken}":                                              "resource bb: outputs: nobody can have this",
		"»cc: {type: careless, params: {path: 7}}":                         "resource cc: its provisioner fails in section init, line 2, at <.Params.path>: wrong type for value; expected string; got int",
	} {
		f := testWorld(t).refused(workload("shop", "service: {ports: {web: {port: 80}}}\nresources:\n  "+file+"\n"))
		if f.Code != fault.ResourceProvision || f.Message != want {
			t.Errorf("%s:\n got %s\nwant %s", file, f.Message, want)
		}
	}
}

func TestPlaceholdersOfASourceFileAreToldInThatFile(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.files = map[string]string{"app/conf/app.ini": "[main]\nhost = ${resources.db.hots}\n"}
	_, faults := w.build(workload("shop", "    files: {/a: {source: conf/app.ini}}\nresources: {db: {type: postgres}}\n"))
	if len(faults) != 1 || faults[0].Place.String() != "app/conf/app.ini:2:8" || faults[0].Suggestion != "host" {
		t.Errorf("faults: %v", faults)
	}
}

func TestReadsSourcesRelativeToTheScoreFile(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.files = map[string]string{"shared/a.txt": "of the repository", "app/b.txt": "beside ${metadata.name}"}
	got := text(t, w.must(workload("shop", "    files: {/a: {source: ../shared/a.txt}, /b: {source: ./b.txt}}\n")))
	for _, want := range []string{"of the repository", "beside shop"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in the release", want)
		}
	}
}

func TestAnUnreachableSourceIsNotAMissingOne(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	w.input = func(in *planner.Input) {
		in.Source = func(string) ([]byte, error) { return nil, fault.New(fault.GitUnreachable, "broke off") }
	}
	_, faults := w.build(workload("shop", "    files: {/a: {source: a}}\n"))
	if fault.ClassOf(faults) != fault.Retryable {
		t.Errorf("faults: %v", faults)
	}
}

func TestParamsMayReferToOtherResources(t *testing.T) {
	t.Parallel()
	release := testWorld(t).must(workload("shop", `    variables: {A: "${resources.aa.url}", N: "${resources.aa.number}", M: "${resources.aa.map}", Z: "${resources.aa.zero}"}
resources:
  aa: {type: echo, params: {url: "http://${resources.zz.host}/", number: 123456789012345678, map: {k: [1, true, null]}, zero: 0.5}}
  zz: {type: echo, params: {host: "${metadata.name}.example"}}
`))
	for _, want := range []string{`"value":"http://shop.example/"`, `"value":"123456789012345678"`, `"value":"{\"k\":[1,true,null]}"`, `"value":"0.5"`} {
		if !strings.Contains(text(t, release), want) {
			t.Errorf("%s is not in %s", want, text(t, release))
		}
	}
}

func TestTemplatesCannotChangeWhatIsStored(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	state := map[string]any{"seen": 4}
	w.input = func(in *planner.Input) {
		in.Stored = map[string]planner.StoredResource{"counter.default#shop.cc": {Provisioner: "template://test/counter", State: state}}
	}
	file := workload("shop", "    variables: {A: \"${resources.cc.seen}\"}\nresources: {cc: {type: counter, params: {key: \"a: b\"}}}\n")
	one, two := w.must(file), w.must(file)
	if one.Digest != two.Digest || state["seen"] != 4 {
		t.Errorf("building a release changed what was stored: %v", state)
	}
}

func TestSharedResourcesAreOneResource(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	shared := func(r *planner.Release) string {
		var out []string
		for _, o := range r.Objects {
			if o.Unit == planner.UnitShared {
				out = append(out, string(o.Body))
			}
		}
		return strings.Join(out, "\n")
	}
	for _, kind := range []string{"postgres", "mysql", "redis", "mongodb", "amqp", "s3", "kafka-topic", "dns"} {
		resources := "resources: {it: {type: " + kind + ", id: main.shared}}\n"
		one, two := w.must(workload("shop", resources)), w.must(workload("checkout", resources))
		if diff := cmp.Diff(shared(one), shared(two)); diff != "" || (kind != "dns" && shared(one) == "") {
			t.Errorf("two workloads that share a %s get two: %s", kind, diff)
		}
		if diff := cmp.Diff(one.Resources[0].Outputs, two.Resources[0].Outputs); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
}

func TestAnIDIsNeverAnotherWorkloadsOwnResource(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	own := w.must(workload("shop", "resources: {db: {type: postgres}}\n"))
	other := w.must(workload("other", "resources: {xx: {type: postgres, id: shop.db}}\n"))
	if own.Resources[0].UID == other.Resources[0].UID {
		t.Errorf("both are %s", own.Resources[0].UID)
	}
}

func TestSharedParamsAreThoseOfWhoDescribesThem(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	described := w.must(workload("checkout", "resources: {other: {type: echo, id: one, params: {a: x}}}\n"))
	w.input = func(in *planner.Input) {
		in.Stored = map[string]planner.StoredResource{"echo.default#one": {
			Provisioner: "template://test/echo", Params: described.Resources[0].Params, DescribedBy: "checkout",
			Record: described.Hidden.Records["echo.default#one"],
		}}
	}
	release := w.must(workload("shop", "    variables: {A: \"${resources.ee.a}\"}\nresources: {ee: {type: echo, id: one}}\n"))
	if !strings.Contains(text(t, release), `"value":"x"`) {
		t.Error("the params of the other workload are not taken")
	}
	w.must(workload("shop", "resources: {ee: {type: echo, id: one, params: {a: x}}}\n"))
	w.must(workload("checkout", "resources: {ee: {type: echo, id: one, params: {a: new}}}\n"))
	if f := w.refused(workload("shop", "resources:\n  »ee: {type: echo, id: one, params: {a: y}}\n")); f.Code != fault.ResourceShared {
		t.Error(f)
	}
}

func TestAnotherProvisionerDoesNotTakeOver(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	deleted := false
	w.input = func(in *planner.Input) {
		in.Stored = map[string]planner.StoredResource{"postgres.default#shop.db": {Provisioner: "template://old/one", Deleted: deleted}}
	}
	if f := w.refused(workload("shop", "resources:\n  db: {type: »postgres}\n")); f.Code != fault.ResourceOtherMaker {
		t.Error(f)
	}
	deleted = true
	w.must(workload("shop", "resources:\n  db: {type: postgres}\n"))
}

func TestEveryPartOfAResourceReachesItsProvisioner(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	objects := func(resource string) string {
		r := w.must(workload("shop", "    variables: {A: \"${resources.ee.a}\", B: \"${resources.ee.meta}\"}\nresources: {ee: "+resource+"}\n"))
		out, err := json.Marshal([]any{r.Objects, r.Resources[0].UID})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	base := objects("{type: echo, params: {a: x}, metadata: {annotations: {aa: b}, free: 1}}")
	for _, changed := range []string{
		"{type: echo, params: {a: y}, metadata: {annotations: {aa: b}, free: 1}}",
		"{type: echo, params: {a: x}, metadata: {annotations: {aa: c}, free: 1}}",
		"{type: echo, params: {a: x}, metadata: {annotations: {aa: b}, free: 2}}",
		"{type: echo, class: other, params: {a: x}, metadata: {annotations: {aa: b}, free: 1}}",
		"{type: echo, id: other, params: {a: x}, metadata: {annotations: {aa: b}, free: 1}}",
	} {
		if objects(changed) == base {
			t.Errorf("%s changes nothing", changed)
		}
	}
}

func TestStaticOutputsAndEnvironmentVariablesAreGiven(t *testing.T) {
	t.Parallel()
	got := text(t, testWorld(t).must(workload("shop", `    variables: {H: "${resources.mail.host}", P: "${resources.mail.password}", R: "${resources.env.REGION}"}
resources: {mail: {type: fixed}, env: {type: environment}}
`)))
	for _, want := range []string{`"value":"mail.example"`, `"secretKeyRef":{"key":"password","name":"relay"}`, `"value":"eu"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

func TestAScoreFileCannotNameSecretsThatAreNotItsOwn(t *testing.T) {
	t.Parallel()
	got := text(t, testWorld(t).must(workload("shop", "    variables: {A: \"🔐💬other_password💬🔐\"}\n")))
	if strings.Contains(got, "secretKeyRef") {
		t.Error("a reference written by hand reads a Secret")
	}
}

// What is wrong with resources does not hide what is wrong with containers, and is told once.
func TestResourcesAndContainersAreToldTogether(t *testing.T) {
	t.Parallel()
	_, faults := testWorld(t).build(`apiVersion: score.dev/v1b1
metadata: {name: shop}
containers:
  main:
    image: "bad image"
    variables: {A: "${resources.db.host}"}
    volumes: {/data: {source: "${resources.vol}"}}
    livenessProbe: {exec: {command: []}}
resources:
  vol: {type: volume, params: {bogus: 1}}
  db: {type: postgrez}
`)
	var got []string
	for _, f := range faults {
		got = append(got, fmt.Sprintf("%d %s", f.Place.Line, f.Code))
	}
	want := []string{"5 " + string(fault.RenderImage), "8 " + string(fault.RenderProbeValue), "10 " + string(fault.ResourceParam), "11 " + string(fault.ResourceType)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
