// A bank on the pure-Go SQLite, migrated by goose: bank RELEASE FILE migrate | check | fill WHO ROUNDS | report | version.
package main

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite"
)

//go:embed migrations/*.sql
var files embed.FS

const perAccount = 1000

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, release, file string, args []string) error {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(20000)&_pragma=foreign_keys(1)&_txlock=immediate")
	if err != nil {
		return err
	}
	defer db.Close()
	switch args[0] {
	case "migrate":
		provider, err := migrations(db, release)
		if err != nil {
			return err
		}
		_, err = provider.Up(ctx)
		return err
	case "check":
		provider, err := migrations(db, release)
		if err != nil {
			return err
		}
		pending, err := provider.HasPending(ctx)
		if err == nil && pending {
			err = fmt.Errorf("there is something to migrate")
		}
		return err
	case "fill":
		rounds, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		kept, err := fill(ctx, db, names(release), args[1], rounds)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(map[string]int{"kept": kept})
	case "report":
		report, err := report(ctx, db, names(release))
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(report)
	case "version":
		var version string
		err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version)
		fmt.Println(version)
		return err
	}
	return fmt.Errorf("unknown verb %q", args[0])
}

func migrations(db *sql.DB, release string) (*goose.Provider, error) {
	folder, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, err
	}
	var later []int64
	if release == "1" {
		later = []int64{2, 3, 4}
	}
	return goose.NewProvider(goose.DialectSQLite3, db, folder, goose.WithExcludeVersions(later))
}

// What the second release calls otherwise.
type naming struct{ account, movement, note string }

func names(release string) naming {
	if release == "1" {
		return naming{"INSERT INTO account (owner, number, balance) VALUES (?, ?, ?)", "transfer", "memo"}
	}
	return naming{"INSERT INTO account (owner, number, balance, currency) VALUES (?, ?, ?, 'EUR')", "movement", "note"}
}

// Two accounts of who, and rounds transfers between them; every fourth is taken back in another transaction.
func fill(ctx context.Context, db *sql.DB, n naming, who string, rounds int) (int, error) {
	var accounts [2]int64
	for i := range accounts {
		done, err := db.ExecContext(ctx, n.account, who, i, perAccount)
		if err != nil {
			return 0, err
		}
		if accounts[i], err = done.LastInsertId(); err != nil {
			return 0, err
		}
	}
	kept := 0
	for i := range rounds {
		id := uuid.NewString()
		from, to := accounts[i%2], accounts[1-i%2]
		err := inTransaction(ctx, db, func(tx *sql.Tx) error {
			insert := fmt.Sprintf("INSERT INTO %s (id, source, target, amount, %s) VALUES (?, ?, ?, ?, ?)", n.movement, n.note)
			if _, err := tx.ExecContext(ctx, insert, id, from, to, i+1, who); err != nil {
				return err
			}
			return move(ctx, tx, from, to, i+1)
		})
		if err != nil {
			return 0, err
		}
		if i%4 != 3 {
			kept++
			continue
		}
		err = inTransaction(ctx, db, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, fmt.Sprintf("DELETE FROM %s WHERE id = ?", n.movement), id); err != nil {
				return err
			}
			return move(ctx, tx, to, from, i+1)
		})
		if err != nil {
			return 0, err
		}
	}
	return kept, nil
}

func move(ctx context.Context, tx *sql.Tx, from, to int64, amount int) error {
	if _, err := tx.ExecContext(ctx, "UPDATE account SET balance = balance - ? WHERE id = ?", amount, from); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE account SET balance = balance + ? WHERE id = ?", amount, to)
	return err
}

func inTransaction(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := work(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

type owner struct {
	Owner          string
	Total, Differs int64
}

func report(ctx context.Context, db *sql.DB, n naming) (map[string]any, error) {
	var kept, amount int64
	err := db.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*), total(amount) FROM %s", n.movement)).Scan(&kept, &amount)
	if err != nil {
		return nil, err
	}
	// An account holds what it began with and what its transfers brought; these are of its owner.
	rows, err := db.QueryContext(ctx, fmt.Sprintf(`
		SELECT a.owner, sum(a.balance), sum(a.balance <> %d
			+ (SELECT total(amount) FROM %[2]s t WHERE t.target = a.id AND t.%[3]s = a.owner)
			- (SELECT total(amount) FROM %[2]s t WHERE t.source = a.id AND t.%[3]s = a.owner))
		FROM account a GROUP BY a.owner ORDER BY a.owner`, perAccount, n.movement, n.note))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	owners := []owner{}
	strayed := int64(0)
	for rows.Next() {
		var o owner
		if err := rows.Scan(&o.Owner, &o.Total, &o.Differs); err != nil {
			return nil, err
		}
		strayed += o.Differs
		owners = append(owners, o)
	}
	return map[string]any{"kept": kept, "amount": amount, "strayed": strayed, "owners": owners}, rows.Err()
}
