package postgres

// MigrateWith and MigrationFiles let a test migrate step by step.
var (
	MigrateWith    = migrate
	MigrationFiles = migrationFiles
)
