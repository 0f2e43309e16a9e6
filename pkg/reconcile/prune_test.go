package reconcile

import (
	"fmt"
	"testing"
	"time"

	"github.com/innominatus/reconciler/pkg/platform"
)

func TestOldHistoryGoesAndWhatIsNeededStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 15 {
		w.push(map[string]string{"score.yaml": file("alpha", fmt.Sprint("a:", i))})
	}
	unblock := w.block("alpha", "alpha.service.yaml")
	for i := range 6 {
		// Each one fails and is undone: the last good release is soon the twelfth before the newest.
		w.push(map[string]string{"score.yaml": file("alpha", fmt.Sprint("a:", 20+i), "service: {ports: {web: {port: 80}}}\n")})
	}
	w.push(map[string]string{"b/score.yaml": file("beta", "b:1")})
	w.offer(platform.Files{"environments/production.yaml": production + "namespace: shop\n"})
	w.quiet()
	counts := func() string {
		return w.rows(`SELECT concat_ws(' ', (SELECT count(*) FROM runs), (SELECT count(*) FROM releases), (SELECT count(*) FROM platform_revisions))`)
	}
	before := counts()
	if err := w.Prune(t.Context(), time.Hour, 16); err != nil {
		t.Fatal(err)
	}
	w.equal(before, counts())
	if err := w.Prune(t.Context(), 0, 16); err != nil {
		t.Fatal(err)
	}
	if after := counts(); after == before {
		t.Errorf("nothing went: %s", after)
	}
	w.equal("alpha true\nbeta true", w.rows(`SELECT name || ' ' || (SELECT count(*) BETWEEN least(16, a.generation) AND 17 FROM runs r WHERE r.application = a.id)::text FROM applications a ORDER BY name`))
	w.equal("1", w.rows(`SELECT count(*)::text FROM platform_revisions`))
	w.equal("0", w.rows(`SELECT count(*)::text FROM releases r JOIN applications a ON a.id = r.application WHERE r.generation = a.applied HAVING count(*) <> 2 UNION ALL SELECT '0' LIMIT 1`))
	unblock()
	w.back("alpha", 0)
	if got := w.deployed("alpha"); got == "" {
		t.Error("the rollback deployed nothing")
	}
	w.push(map[string]string{"score.yaml": file("alpha", "a:99")})
	w.resume("alpha")
	w.equal("a:99", w.deployed("alpha"))
}
