// Command benchmark runs every benchmark of the module and writes bench/results.json with each figure, its peer's in the
// same run where there is one, and the goal where there is one. With -once each benchmark runs once, to see that it does.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
)

// goal is what a figure should reach.
type goal struct {
	value float64
	// atLeast says that more is better.
	atLeast bool
}

// goals by benchmark and unit.
var goals = map[string]goal{
	// 1,000 files of the size of the specification's full sample in 300 ms of CPU.
	"pkg/score.Load cpu-us/file": {value: 300},
	// 100 workloads with 400 resources and 1,000 objects in 250 ms of CPU.
	"pkg/planner.PlanFromStoredState cpu-ms/op": {value: 250},
}

// peers are the benchmarks that do the same work with another tool, by ours.
var peers = map[string]string{
	"pkg/gitrepo.ListRefsUnchanged/ours/refs=0":     "pkg/gitrepo.ListRefsUnchanged/git_ls-remote/refs=0",
	"pkg/gitrepo.ListRefsUnchanged/ours/refs=20000": "pkg/gitrepo.ListRefsUnchanged/git_ls-remote/refs=20000",
	"pkg/gitrepo.FetchOneCommit/ours":               "pkg/gitrepo.FetchOneCommit/git_fetch",
}

// figure is one measured value.
type figure struct {
	Name      string   `json:"name"`
	Value     float64  `json:"value"`
	Unit      string   `json:"unit"`
	Peer      string   `json:"peer,omitempty"`
	PeerValue *float64 `json:"peer_value,omitempty"`
	Goal      *float64 `json:"goal,omitempty"`
	Met       *bool    `json:"met,omitempty"`
	Command   string   `json:"command"`
}

type results struct {
	Machine string   `json:"machine"`
	Figures []figure `json:"figures"`
}

func main() {
	once := flag.Bool("once", false, "run each benchmark once and write nothing")
	flag.Parse()
	if err := run(*once); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(once bool) error {
	args := []string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-p", "1", "./..."}
	if once {
		args = append(args, "-benchtime", "1x")
	}
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	figures := parse(out)
	if len(figures) == 0 {
		return fmt.Errorf("no benchmark ran:\n%s", out)
	}
	judge(figures)
	if err := table(figures); err != nil || once {
		return err
	}
	text, err := json.MarshalIndent(results{machine(), figures}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll("bench", 0o755); err != nil {
		return err
	}
	return os.WriteFile("bench/results.json", append(text, '\n'), 0o644)
}

var (
	packageLine   = regexp.MustCompile(`^pkg: github\.com/innominatus/reconciler/(\S+)`)
	benchmarkLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)
)

// parse reads what go test prints.
func parse(out []byte) []figure {
	var figures []figure
	room := ""
	scanner := bufio.NewScanner(bytes.NewReader(out))
	for scanner.Scan() {
		if m := packageLine.FindStringSubmatch(scanner.Text()); m != nil {
			room = m[1]
			continue
		}
		m := benchmarkLine.FindStringSubmatch(scanner.Text())
		if m == nil {
			continue
		}
		fields := strings.Fields(m[2])
		for i := 0; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				continue
			}
			top, _, _ := strings.Cut(m[1], "/")
			figures = append(figures, figure{
				Name: room + "." + m[1], Value: value, Unit: fields[i+1],
				Command: fmt.Sprintf("go test -run '^$' -bench '^Benchmark%s$' -benchmem ./%s", top, room),
			})
		}
	}
	return figures
}

// judge adds peers and goals.
func judge(figures []figure) {
	values := map[string]float64{}
	for _, f := range figures {
		values[f.Name+" "+f.Unit] = f.Value
	}
	for i := range figures {
		f := &figures[i]
		if peer, ok := peers[f.Name]; ok {
			if value, measured := values[peer+" "+f.Unit]; measured && f.Unit == "ns/op" {
				f.Peer, f.PeerValue = peer, &value
			}
		}
		if g, ok := goals[f.Name+" "+f.Unit]; ok {
			met := f.Value <= g.value
			if g.atLeast {
				met = f.Value >= g.value
			}
			f.Goal, f.Met = &g.value, &met
		}
	}
}

func table(figures []figure) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "FIGURE\tVALUE\tUNIT\tPEER\tPEER/OURS\tGOAL\tMET")
	for _, f := range figures {
		ratio, target, met := "-", "-", "-"
		if f.PeerValue != nil && f.Value > 0 {
			ratio = fmt.Sprintf("%.1f", *f.PeerValue/f.Value)
		}
		if f.Goal != nil {
			target, met = fmt.Sprint(*f.Goal), fmt.Sprint(*f.Met)
		}
		fmt.Fprintf(t, "%s\t%.6g\t%s\t%s\t%s\t%s\t%s\n", f.Name, f.Value, f.Unit, cmp.Or(f.Peer, "-"), ratio, target, met)
	}
	return t.Flush()
}

// machine describes where the figures come from.
func machine() string {
	model := ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s/%s, %d cores, %s, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cmp.Or(model, "unknown processor"), runtime.Version())
}
