package score

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/innominatus/reconciler/pkg/fault"
)

// block returns the lines of an entry of a map in block style: from the beginning of the key's line to the end of the
// last line of its value. Comments and blank lines after it belong to what follows.
func (p *planner) block(e *Entry) (from, to int, ok bool) {
	key, found := p.src.find(e.Place)
	if !found {
		return 0, 0, false
	}
	data := p.src.data
	from = bytes.LastIndexByte(data[:key], '\n') + 1
	indent := key - from
	if strings.TrimLeft(string(data[from:key]), " ") != "" {
		return 0, 0, false // something else is before the key: braces, or the dash of a list
	}
	to = lineEnd(data, from)
	for at := to; at < len(data); {
		end := lineEnd(data, at)
		line := strings.TrimRight(string(data[at:end]), " \r\n")
		body := strings.TrimLeft(line, " ")
		inside := len(line)-len(body) > indent ||
			len(line)-len(body) == indent && e.Value.Kind == List && strings.HasPrefix(body+" ", "- ")
		switch {
		case body == "" || body[0] == '#':
		case !inside:
			return from, to, true
		default:
			to = end
		}
		at = end
	}
	return from, to, true
}

// lineEnd returns where the line after the one at an offset begins.
func lineEnd(data []byte, at int) int {
	i := bytes.IndexByte(data[at:], '\n')
	if i < 0 {
		return len(data)
	}
	return at + i + 1
}

// commentOut makes comments of the lines of a key that Score has no place for.
func (p *planner) commentOut(root *Node, key string) {
	e := root.entry(key)
	if e == nil {
		return
	}
	from, to, ok := p.block(e)
	if !ok {
		return
	}
	note := fmt.Sprintf("# %s is not part of Score: the platform decides it.", key)
	p.edits = append(p.edits, edit{
		cuts:   append([]cut{{from, from, note + p.newline}}, p.comments(from, to)...),
		change: Change{fault.ScoreDialectPlatform, e.Place, key + " is commented out"},
		mutate: func(c copies) { c.remove(root, key) },
	})
}

// comments returns cuts that make comments of lines.
func (p *planner) comments(from, to int) []cut {
	var out []cut
	for at := from; at < to; at = lineEnd(p.src.data, at) {
		if len(bytes.TrimSpace(p.src.data[at:lineEnd(p.src.data, at)])) > 0 {
			out = append(out, cut{at, at, "# "})
		}
	}
	return out
}

// ports moves the ports of all containers to service.ports.
func (p *planner) ports(root *Node) {
	service := root.Lookup("service", "ports")
	if old := root.entry("service"); old != nil && (service == nil || service.Kind != Map || len(service.Entries) == 0) {
		if !hollow(old.Value) {
			return
		}
		service = nil
	}
	taken := map[string]Port{}
	for _, e := range service.sorted() {
		taken[e.Key] = buildPort(e)
	}
	var all edit
	var added []Port
	var from []*Node
	for _, c := range root.Get("containers").sorted() {
		e := c.Value.entry("ports")
		if e == nil {
			continue
		}
		ports, ok := portsOf(e.Value)
		begin, end, block := p.block(e)
		if !ok || !block {
			return
		}
		for _, port := range ports {
			name, isNew := freeName(port, taken)
			if name == "" || isNew && port.Name != "" && service.Get(port.Name) != nil {
				return // which of the two numbers is meant is not for us to say
			}
			if isNew {
				port.Name = name
				taken[name] = port
				added = append(added, port)
			}
		}
		if bytes.IndexByte(p.src.data[begin:end], '#') >= 0 {
			// Its comments are not lost.
			all.cuts = append(all.cuts, cut{begin, begin, "# Moved to service.ports:" + p.newline})
			all.cuts = append(all.cuts, p.comments(begin, end)...)
		} else {
			all.cuts = append(all.cuts, cut{begin, end, ""})
		}
		from = append(from, c.Value)
		all.change = Change{fault.ScoreDialectPorts, e.Place, "ports moved to service.ports"}
	}
	if len(from) == 0 || !p.insert(&all, root, service, added) {
		return
	}
	all.mutate = func(c copies) {
		for _, n := range from {
			c.remove(n, "ports")
		}
		c.addPorts(root, added)
	}
	p.edits = append(p.edits, all)
}

// hollow says that a service has no ports and nothing else.
func hollow(service *Node) bool {
	ports := service.Get("ports")
	return service.Kind == Null || service.Kind == Map && len(service.Entries) == 0 ||
		len(service.Entries) == 1 && ports != nil && (ports.Kind == Null || ports.Kind == Map && len(ports.Entries) == 0)
}

// portsOf reads what people write as ports of a container: a list of numbers, or of maps with name, port (or
// containerPort), targetPort and protocol, or a map from names to those. It gives up on anything else.
func portsOf(n *Node) ([]Port, bool) {
	var out []Port
	for _, item := range n.Items {
		one, ok := portOf(item)
		if !ok {
			return nil, false
		}
		out = append(out, one)
	}
	for _, e := range n.sorted() {
		one, ok := portOf(e.Value)
		if !ok || one.Name != "" {
			return nil, false
		}
		one.Name = e.Key
		out = append(out, one)
	}
	return out, !n.isScalar()
}

func portOf(n *Node) (Port, bool) {
	var out Port
	valid := func(i int) bool { return i >= port.low && i <= port.high }
	for _, e := range n.Entries {
		number, isNumber := e.Value.integer()
		switch {
		case e.Key == "name" && e.Value.Kind == String:
			out.Name = e.Value.Text
		case (e.Key == "port" || e.Key == "containerPort") && out.Port == 0 && isNumber && valid(number):
			out.Port = number
		case e.Key == "targetPort" && isNumber && valid(number):
			out.TargetPort = number
		case e.Key == "protocol" && slices.Contains([]string{"TCP", "UDP"}, strings.ToUpper(e.Value.text())):
			out.Protocol = strings.ToUpper(e.Value.Text)
		default:
			return Port{}, false
		}
	}
	if number, isNumber := n.integer(); isNumber && valid(number) {
		out.Port = number
	}
	return out, out.Port != 0
}

// freeName returns a name for a port that is valid and not taken by another; isNew is false when the port is there, or is
// where one that is there leads to.
func freeName(p Port, taken map[string]Port) (name string, isNew bool) {
	same := func(q Port) bool {
		return (q.Port == p.Port && (p.TargetPort == 0 || p.TargetPort == q.TargetPort || q.TargetPort == 0) || p.TargetPort == 0 && p.Port == q.TargetPort) &&
			(p.Protocol == "UDP") == (q.Protocol == "UDP")
	}
	names := make([]string, 0, len(taken))
	for n := range taken {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if same(taken[n]) && (p.Name == "" || p.Name == n) {
			return n, false
		}
	}
	for _, n := range []string{p.Name, fmt.Sprintf("port-%d", p.Port), fmt.Sprintf("port-%d-%s", p.Port, strings.ToLower(p.Protocol))} {
		if _, found := taken[n]; !found && isLabel(n) {
			return n, true
		}
	}
	return "", false
}

// insert adds the text of ports: to those that are there, or as a service of its own before the containers.
func (p *planner) insert(e *edit, root, service *Node, ports []Port) bool {
	if len(ports) == 0 {
		return true
	}
	if service != nil {
		at, ok := p.src.find(service.Entries[0].Place)
		if !ok {
			return false
		}
		line := bytes.LastIndexByte(p.src.data[:at], '\n') + 1
		indent := string(p.src.data[line:at])
		if strings.TrimLeft(indent, " ") == "" {
			line = p.aboveComments(line, indent)
			e.cuts = append(e.cuts, cut{line, line, p.text(ports, indent)})
			return true
		}
		var flow strings.Builder
		for _, one := range ports {
			fmt.Fprintf(&flow, "%s: {%s}, ", one.Name, strings.Join(fields(one), ", "))
		}
		e.cuts = append(e.cuts, cut{at, at, flow.String()})
		return true
	}
	containers := root.entry("containers")
	line, _, ok := p.block(containers)
	if !ok {
		return false
	}
	if old := root.entry("service"); old != nil {
		// What is put in its place stands where it stood.
		from, to, ok := p.block(old)
		if !ok || bytes.IndexByte(p.src.data[from:to], '#') >= 0 {
			return false
		}
		e.cuts = append(e.cuts, cut{from, to, "service:" + p.newline + "  ports:" + p.newline + p.text(ports, "    ")})
		return true
	}
	key, _ := p.src.find(containers.Place)
	indent := string(p.src.data[line:key])
	line = p.aboveComments(line, indent)
	text := indent + "service:" + p.newline + indent + "  ports:" + p.newline + p.text(ports, indent+"    ")
	if bytes.HasSuffix(p.src.data[:line], []byte("\n"+p.newline)) {
		text += p.newline
	}
	e.cuts = append(e.cuts, cut{line, line, text})
	return true
}

// aboveComments returns the beginning of the comment lines that stand directly above a line.
func (p *planner) aboveComments(line int, indent string) int {
	for line > 0 {
		above := bytes.LastIndexByte(p.src.data[:line-1], '\n') + 1
		if !bytes.HasPrefix(p.src.data[above:line], []byte(indent+"#")) {
			break
		}
		line = above
	}
	return line
}

// text writes ports in block style.
func (p *planner) text(ports []Port, indent string) string {
	var b strings.Builder
	for _, one := range ports {
		b.WriteString(indent + one.Name + ":" + p.newline)
		for _, f := range fields(one) {
			b.WriteString(indent + "  " + f + p.newline)
		}
	}
	return b.String()
}

func fields(p Port) []string {
	out := []string{fmt.Sprintf("port: %d", p.Port)}
	if p.TargetPort != 0 {
		out = append(out, fmt.Sprintf("targetPort: %d", p.TargetPort))
	}
	if p.Protocol != "" {
		out = append(out, "protocol: "+p.Protocol)
	}
	return out
}

// addPorts adds ports to service.ports of a copy.
func (c copies) addPorts(root *Node, ports []Port) {
	to := c.of(root)
	if old := root.Get("service"); old != nil && hollow(old) && len(ports) > 0 {
		c.remove(root, "service")
	}
	for _, key := range []string{"service", "ports"} {
		if to.Get(key) == nil && len(ports) > 0 {
			to.Entries = append(to.Entries, Entry{Key: key, Value: &Node{Kind: Map}})
		}
		if to = to.Get(key); to == nil {
			return
		}
	}
	number := func(i int) *Node { return &Node{Kind: Int, Text: fmt.Sprint(i)} }
	for _, p := range ports {
		n := &Node{Kind: Map, Entries: []Entry{{Key: "port", Value: number(p.Port)}}}
		if p.TargetPort != 0 {
			n.Entries = append(n.Entries, Entry{Key: "targetPort", Value: number(p.TargetPort)})
		}
		if p.Protocol != "" {
			n.Entries = append(n.Entries, Entry{Key: "protocol", Value: &Node{Kind: String, Text: p.Protocol}})
		}
		to.Entries = append(to.Entries, Entry{Key: p.Name, Value: n})
	}
}
