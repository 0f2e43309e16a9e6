// Package postgres is the way to the database: the connection pool, the migrations, a listener for notifications, and a
// server of our own for set-ups that bring none.
//
//   - [Open] makes a pool with the time limits that a shared database needs.
//   - [Migrate] brings the schema to the state that this binary knows. The files in migrations/ only go forward; each
//     room adds its own (00001 to 00009 the queue, 00010 and up the others).
//   - [Listener] keeps one connection for LISTEN and says when notifications may have been lost.
//   - [StartEmbedded] runs a PostgreSQL server below a data directory as a child of this process.
//
// The package holds no queries of any room: these stand beside the code that needs them.
package postgres
