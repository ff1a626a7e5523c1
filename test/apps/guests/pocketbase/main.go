// A site on PocketBase as a library: site VERB FILE [WHO]. PocketBase finds FILE as data.db of a folder beside it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pocketbase/pocketbase"
	"github.com/pocketbase/pocketbase/core"
)

const posts = 12

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		log.Fatal(err)
	}
}

func run(verb, file string, args []string) error {
	folder := filepath.Join(filepath.Dir(file), "pb_data")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(file, filepath.Join(folder, "data.db")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	app := pocketbase.NewWithConfig(pocketbase.Config{DefaultDataDir: folder, HideStartBanner: true})
	if err := app.Bootstrap(); err != nil {
		return err
	}
	defer app.ResetBootstrapState()
	switch verb {
	case "migrate":
		if err := app.RunAllMigrations(); err != nil {
			return err
		}
		return collections(app)
	case "fill":
		return fill(app, args[0])
	case "report":
		return report(app)
	case "check":
		return check(app)
	}
	return fmt.Errorf("unknown verb %q", verb)
}

func collections(app core.App) error {
	users, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return err
	}
	made := core.NewBaseCollection("posts")
	made.Fields.Add(
		&core.TextField{Name: "title", Required: true},
		&core.NumberField{Name: "stars"},
		&core.JSONField{Name: "more"},
		&core.RelationField{Name: "author", CollectionId: users.Id, Required: true, CascadeDelete: true},
		&core.AutodateField{Name: "created", OnCreate: true},
	)
	made.AddIndex("idx_posts_title", true, "title", "")
	return app.Save(made)
}

func fill(app core.App, who string) error {
	users, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return err
	}
	collection, err := app.FindCollectionByNameOrId("posts")
	if err != nil {
		return err
	}
	author := core.NewRecord(users)
	author.SetEmail(who + "@example.com")
	author.SetPassword("secret secret")
	if err := app.Save(author); err != nil {
		return err
	}
	kept := 0
	for n := range posts {
		err := repeated(app, func(tx core.App) error {
			post := core.NewRecord(collection)
			post.Load(map[string]any{"title": fmt.Sprintf("%s %d", who, n), "stars": n, "more": map[string]int{"n": n}, "author": author.Id})
			if err := tx.Save(post); err != nil {
				return err
			}
			post.Set("stars", n*10)
			if err := tx.Save(post); err != nil {
				return err
			}
			if n%4 == 3 {
				return tx.Delete(post)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if n%4 != 3 {
			kept++
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]int{"kept": kept})
}

// A transaction that reads before it writes cannot wait for another process: it is repeated. PocketBase repeats single writes.
func repeated(app core.App, work func(tx core.App) error) error {
	for end := time.Now().Add(time.Minute); ; {
		err := app.RunInTransaction(work)
		if err == nil || !strings.Contains(err.Error(), "database is locked") || time.Now().After(end) {
			return err
		}
	}
}

func report(app core.App) error {
	found, err := app.FindRecordsByFilter("posts", "stars >= 0", "title", 0, 0)
	if err != nil {
		return err
	}
	rows := [][]any{}
	for _, post := range found {
		rows = append(rows, []any{post.Id, post.GetString("title"), post.GetInt("stars"), post.GetString("more"), post.GetString("author"), post.GetString("created")})
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"kept": len(rows), "posts": rows})
}

// Every post can be expanded to its author, every schema is in the table of collections, and SQLite finds nothing.
func check(app core.App) error {
	found, err := app.FindRecordsByFilter("posts", "author.email != ''", "", 0, 0)
	if err != nil {
		return err
	}
	for _, failed := range app.ExpandRecords(found, []string{"author"}, nil) {
		return failed
	}
	for _, post := range found {
		if !post.ExpandedOne("author").ValidatePassword("secret secret") {
			return fmt.Errorf("the author of %s has another password", post.Id)
		}
	}
	var said string
	if err := app.DB().NewQuery("PRAGMA integrity_check").Row(&said); err != nil || said != "ok" {
		return fmt.Errorf("%s %w", said, err)
	}
	return nil
}
