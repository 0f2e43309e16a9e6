package planner

import (
	"fmt"
	"os"
	"testing"

	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/score"
	"github.com/innominatus/reconciler/pkg/secret"
)

func TestScratch(t *testing.T) {
	p, faults := platform.Load(platform.Files{"environments/prod.yaml": "target: {directory: {path: out}}\nvariables: {LOG: info}\n"})
	for _, f := range faults {
		fmt.Println(f.Text())
	}
	if p == nil {
		t.Fatal()
	}
	ring, _ := secret.NewKeyring(make([]byte, 32))
	src := `apiVersion: score.dev/v1b1
metadata: {name: shop}
service: {ports: {web: {port: 80, targetPort: 8080}}}
containers:
  main:
    image: nginx:1
    variables:
      A: ${resources.db.host}
      B: postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}/${resources.db.name}
      C: ${resources.mg.connection}
      L: ${resources.env.LOG}
    files:
      /etc/x: {content: "hello ${resources.db.password}"}
      /etc/y: {content: "hello"}
resources:
  db: {type: postgres}
  my: {type: mysql}
  rd: {type: redis}
  mg: {type: mongodb}
  mq: {type: amqp}
  s3: {type: s3}
  kt: {type: kafka-topic}
  hn: {type: dns}
  rt: {type: route, params: {host: "${resources.hn.host}", path: /, port: web}}
  sp: {type: service-port, params: {workload: shop, port: web}}
  env: {type: environment}
`
	ws, fl := score.Load(score.Source{Name: "score.yaml", Data: []byte(src)})
	for _, f := range fl {
		fmt.Println(f.Text())
	}
	e := p.Environments["prod"]
	r, fl := Build(Input{Workload: ws[0], Environment: e, Platform: p, Secrets: ring})
	for _, f := range fl {
		fmt.Println(f.Text())
	}
	if r == nil {
		t.Fatal()
	}
	for _, o := range r.Objects {
		fmt.Println(o.Unit, o.Key())
		if o.Resource == "" {
			fmt.Println(string(o.Body))
		}
	}
	pl := NewPlan("shop", "prod", p.Digest, Base{}, r)
	fmt.Println(pl.ID, pl.Summary)
	_ = os.Args
}
