package postgres

import (
	"context"
	"fmt"
)

const (
	sqlMark = `INSERT INTO installation (mark) VALUES ($1) ON CONFLICT DO NOTHING`
	sqlRead = `SELECT mark FROM installation`
)

// Mark returns the mark of the installation that a database belongs to; that of a new one becomes the given one.
func Mark(ctx context.Context, db Querier, mark string) (string, error) {
	if _, err := db.Exec(ctx, sqlMark, mark); err != nil {
		return "", fmt.Errorf("mark the database: %w", err)
	}
	var stored string
	if err := db.QueryRow(ctx, sqlRead).Scan(&stored); err != nil {
		return "", fmt.Errorf("read the database's mark: %w", err)
	}
	return stored, nil
}
