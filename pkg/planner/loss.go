package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Left is a resource that a run made which did not succeed: it may be there, although the release that is in the target
// does not have it.
type Left struct {
	UID, Type, Class string
	Stateful         bool
}

// name is the resource's name in its Score file, or the UID of one that several workloads share.
func (l Left) name(workload string) string {
	if _, name, found := strings.Cut(l.UID, "#"+workload+"."); found {
		return name
	}
	return l.UID
}

// goes returns the changes for what was left and is not wanted, and their UIDs.
func goes(left []Left, workload string, proposed *Release) (changes []Change, uids []string) {
	for _, l := range left {
		if proposed != nil && slices.ContainsFunc(proposed.Resources, func(r Resource) bool { return r.UID == l.UID }) {
			continue
		}
		uids = append(uids, l.UID)
		changes = append(changes, Change{
			Action: Delete, Part: "resources." + escape(l.name(workload)), Stateful: l.Stateful,
			Detail: fmt.Sprintf("%s (class %s), left by a run that failed", l.Type, l.Class),
		})
	}
	return changes, uids
}

// harmless are the kinds that hold no data, even as part of a resource that does.
var harmless = []string{
	"Service", "Secret", "ConfigMap", "Deployment", "Job", "CronJob", "Ingress", "HTTPRoute", "ServiceAccount", "Role", "RoleBinding",
	"NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceMonitor", "PodMonitor",
}

// countLosses marks the resources that stay in name, but whose objects with data go: their provisioner makes others now.
func countLosses(changes []Change, from, to *Release) []Change {
	if from == nil || to == nil {
		return changes // what goes as a whole is counted as a whole
	}
	kept := objectsOf(to)
	for _, r := range from.Resources {
		gone := slices.ContainsFunc(from.Objects, func(o Object) bool {
			_, stays := kept[o.Key()]
			return o.Resource == r.UID && !stays && !slices.Contains(harmless, o.Kind)
		})
		if !r.Stateful || !gone {
			continue
		}
		part := "resources." + escape(r.Name)
		i := slices.IndexFunc(changes, func(c Change) bool { return c.Part == part })
		if i < 0 {
			detail := fmt.Sprintf("%s (class %s), its provisioner makes other objects", r.Type, r.Class)
			changes = append(changes, Change{Action: Replace, Part: part, Detail: detail, Stateful: true, At: r.At})
			continue
		}
		changes[i].Stateful = true
		if changes[i].Action == Update {
			changes[i].Action = Replace
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return cmp.Compare(a.Part, b.Part) })
	return changes
}
