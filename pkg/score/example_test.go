package score_test

import (
	"fmt"

	"github.com/innominatus/reconciler/pkg/score"
)

func ExampleLoad() {
	data := []byte(`apiVersion: score.dev/v1b1
metadata:
  name: orders
containers:
  main:
    image: shop/orders:1
    variables:
      DB_HOST: ${resources.db.hots}
resources:
  db:
    type: postgres
`)
	workloads, faults := score.Load(score.Source{Name: "orders/score.yaml", Data: data})
	if err := faults.Err(); err != nil {
		fmt.Println(err)
		return
	}
	for _, w := range workloads {
		fmt.Println(w.Name, w.Containers[0].Image)
		fmt.Println(w.CheckReferences(func(score.Resource) ([]string, bool) { return []string{"host", "port"}, true }))
	}
	// Output:
	// orders shop/orders:1
	// orders/score.yaml:8:16: ${resources.db.hots}: the resource db of type postgres has no output "hots" [ORC-1102]
}

func ExampleFix() {
	data := []byte(`apiVersion: score.dev/v1b1
metadata: {name: orders}
containers:
  main:
    image: shop/orders:1
    env:
      PORT: 8080 # where it listens
`)
	fixed, changes, _ := score.Fix(score.Source{Name: "score.yaml", Data: data})
	for _, c := range changes {
		fmt.Println(c.At, c.Text)
	}
	fmt.Print(string(fixed))
	// Output:
	// score.yaml:6:5 env is now variables
	// score.yaml:7:13 quoted 8080
	// apiVersion: score.dev/v1b1
	// metadata: {name: orders}
	// containers:
	//   main:
	//     image: shop/orders:1
	//     variables:
	//       PORT: "8080" # where it listens
}
