// Package golden is the language of golden paths: the platform team's workflows around a deployment. It reads them, checks
// them as a whole with types and places, and evaluates their expressions. It is pure: what a step does is done by package
// apply.
//
// Expressions are CEL (https://cel.dev). They stand alone in `when` and `for_each`, and as ${…} in texts. They know:
//
//	application, environment, repository, commit  texts
//	generation                                    the number of the release
//	plan.create, .update, .replace, .delete, .stateful   how many changes of a kind the plan has
//	params.NAME                                   parameters of the path
//	steps.ID.OUTPUT                               outputs of steps that come before by `needs`
//	each.key, each.value                          in a step with for_each
//	response.status, .headers, .body              in `expect` and `outputs` of an http step
package golden
