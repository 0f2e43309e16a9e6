package fault

// Codes of the reconciler itself and the machine it runs on (9xxx).
const (
	// Internal: an error that no code describes better.
	Internal Code = "ORC-9001"

	// DatabaseURL: the database URL cannot be read.
	DatabaseURL Code = "ORC-9002"
	// DatabaseUnreachable: no connection to the database.
	DatabaseUnreachable Code = "ORC-9003"
	// DatabaseTooOld: the server's version is below the oldest that works.
	DatabaseTooOld Code = "ORC-9004"
	// DatabaseNewer: the schema was made by a newer binary.
	DatabaseNewer Code = "ORC-9005"
	// DatabaseMigration: a migration failed.
	DatabaseMigration Code = "ORC-9006"
	// PostgresMissing: no server binaries for the embedded server.
	PostgresMissing Code = "ORC-9007"
	// PostgresDirectory: the data directory cannot be used.
	PostgresDirectory Code = "ORC-9008"
	// PostgresBusy: another process uses the data directory.
	PostgresBusy Code = "ORC-9009"
	// PostgresStart: the embedded server did not start.
	PostgresStart Code = "ORC-9010"
	// KeyOther: the key file belongs to another installation.
	KeyOther Code = "ORC-9011"
)

var machine = map[Code]Entry{
	Internal: {
		Title: "Something inside went wrong", Class: Retryable,
		Why:    "An error reached a person without having been given a meaning of its own.",
		Remedy: "A server tries again by itself; a command can be given again. If it stays, report it, with what the server's log says at that time.",
	},
	DatabaseURL: {
		Title: "The database URL cannot be read", Class: Permanent,
		Why:    "The configured URL is neither a postgres:// URL nor a list of key=value settings, or a setting in it has no meaning.",
		Remedy: "Correct the URL; its form is postgres://user:password@host:5432/database?sslmode=verify-full.",
	},
	DatabaseUnreachable: {
		Title: "The database cannot be reached", Class: Retryable,
		Why:    "No connection could be made, or the server refused the user, the password or the database.",
		Remedy: "Check that the server runs and listens where the URL points, that a firewall lets us through, and that user and password are right.",
	},
	DatabaseTooOld: {
		Title: "The database server is too old", Class: Refused,
		Why:    "The server's version lacks something that the statements use.",
		Remedy: "Upgrade the server, or give the URL of a newer one.",
	},
	DatabaseNewer: {
		Title: "The database belongs to a newer version", Class: Refused,
		Why:    "A newer version of the reconciler has migrated this database; this one could damage what it does not know.",
		Remedy: "Run the newer version, or restore the backup that was taken before the upgrade into another database and use that.",
	},
	DatabaseMigration: {
		Title: "The database schema could not be migrated", Class: Refused,
		Why:    "One step of bringing the schema to this version failed. It was undone as a whole; the steps before it stay.",
		Remedy: "Read the cause. Most often the user lacks the right to create tables, or somebody changed the schema by hand.",
	},
	PostgresMissing: {
		Title: "No PostgreSQL server is installed", Class: Refused,
		Why:    "No database URL is configured, and the programs initdb and postgres, of a version that fits, were not found to run a server of our own.",
		Remedy: "Configure a database URL, or install a server: apt-get install postgresql (Debian, Ubuntu), dnf install postgresql-server (Fedora, RHEL), brew install postgresql (macOS).",
	},
	PostgresDirectory: {
		Title: "The database directory cannot be used", Class: Refused,
		Why:    "The embedded server cannot read or write its directory, or the directory holds something else than it left there.",
		Remedy: "Choose another data directory, or correct owner and mode of the one named.",
	},
	PostgresBusy: {
		Title: "The database directory is in use", Class: Refused,
		Why:    "Another reconciler, or a server that it left behind, works in the same data directory.",
		Remedy: "Stop the other process, or choose another data directory for this one.",
	},
	KeyOther: {
		Title: "The key file is not the one of this database", Class: Permanent,
		Why:    "The database was written with another key: by another replica, whose key file was not copied here, or before the key file was lost or its oldest key taken out.",
		Remedy: "Use the key file that the database was written with; all replicas share one.",
	},
	PostgresStart: {
		Title: "The embedded database server did not start", Class: Retryable,
		Why:    "The server's process ended, or did not answer in time.",
		Remedy: "Read the server's own words in the message; most often the disk is full or the machine is out of memory.",
	},
}
