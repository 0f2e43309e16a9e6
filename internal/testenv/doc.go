// Package testenv starts the real parts that tests need: a PostgreSQL server with a migrated database per test, and, in
// files of their own, the other systems. It is for tests only and is not part of the product.
package testenv
