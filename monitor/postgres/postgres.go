// Package postgres keeps the portfolio in PostgreSQL (14 or later), for several
// monitors at a time. It is the shared counterpart of the embedded inventories
// and passes the same suite.
//
// Rows are plain: images, distinct packages, and which image holds which. That
// costs about sixty bytes a dependency and a hundred times the look-up of
// package packed, and buys transactions across machines, replicas and backups
// that somebody already runs. Read and correlate on the primary.
package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cleanstart/cleanstart/monitor/inventory"
)

// Inventory is an [inventory.Inventory], an [inventory.Selector] and
// [inventory.Cursors] in the schema that the connection's search_path names
// first. Its methods may be called from several goroutines and machines.
type Inventory struct{ pool *pgxpool.Pool }

// format is the version of the tables.
const format = "cleanstart-inventory/1"

// Text is compared by bytes, so that the order is the same on every server.
const tables = `
CREATE TABLE IF NOT EXISTS cleanstart_meta (key text COLLATE "C" PRIMARY KEY, value text NOT NULL);
CREATE TABLE IF NOT EXISTS cleanstart_image (
	id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text COLLATE "C" NOT NULL,
	digest text COLLATE "C" NOT NULL,
	live boolean NOT NULL,
	body bytea,
	CHECK (live = (body IS NOT NULL)),
	UNIQUE (name, digest)
);
CREATE UNIQUE INDEX IF NOT EXISTS cleanstart_image_live ON cleanstart_image (name) WHERE live;
CREATE TABLE IF NOT EXISTS cleanstart_package (
	id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	folded text COLLATE "C" NOT NULL,
	ecosystem text COLLATE "C" NOT NULL,
	base text COLLATE "C" NOT NULL,
	name text COLLATE "C" NOT NULL,
	version text COLLATE "C" NOT NULL,
	purl text COLLATE "C" NOT NULL,
	UNIQUE (name, ecosystem, version, purl)
);
CREATE INDEX IF NOT EXISTS cleanstart_package_folded ON cleanstart_package (folded);
CREATE INDEX IF NOT EXISTS cleanstart_package_base ON cleanstart_package (base) WHERE base <> '';
CREATE TABLE IF NOT EXISTS cleanstart_holds (
	package integer NOT NULL REFERENCES cleanstart_package,
	image integer NOT NULL REFERENCES cleanstart_image,
	PRIMARY KEY (package, image)
);
CREATE TABLE IF NOT EXISTS cleanstart_cursor (feed text COLLATE "C" PRIMARY KEY, cursor bytea NOT NULL);
`

// Open connects to the database that the connection string names (a URL or
// keywords, as libpq has them), and makes the tables where they are missing.
func Open(ctx context.Context, dsn string) (*Inventory, error) {
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	inv := &Inventory{pool}
	err = inv.write(ctx, func(tx pgx.Tx) error {
		// Two monitors may start at the same time.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, format); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, tables); err != nil {
			return err
		}
		var got string
		err := tx.QueryRow(ctx, `INSERT INTO cleanstart_meta VALUES ('format', $1)
			ON CONFLICT (key) DO UPDATE SET value = cleanstart_meta.value RETURNING value`, format).Scan(&got)
		if err == nil && got != format {
			err = fmt.Errorf("the tables are of format %q, this program knows %q", got, format)
		}
		return err
	})
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("postgres: open inventory: %w", err)
	}
	return inv, nil
}

// Close ends all connections.
func (inv *Inventory) Close() error {
	inv.pool.Close()
	return nil
}

// write runs a transaction, and again where the server gave it up for another
// one or the connection was lost before it began.
func (inv *Inventory) write(ctx context.Context, do func(pgx.Tx) error) error {
	const tries = 8
	for n := 1; ; n++ {
		err := pgx.BeginFunc(ctx, inv.pool, do)
		if err == nil || n == tries || !again(err) {
			return err
		}
		timer := time.NewTimer(time.Duration(n*n) * 5 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		case <-timer.C:
		}
	}
}

func again(err error) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code == "40001" || pe.Code == "40P01" // serialization failure, deadlock
	}
	return pgconn.SafeToRetry(err)
}

// Swap implements [inventory.Inventory].
func (inv *Inventory) Swap(ctx context.Context, name, prev string, next *inventory.Image) error {
	if next == nil && prev == "" {
		return fmt.Errorf("inventory: swap %s: nothing for nothing", name)
	}
	if next != nil {
		if err := next.Check(); err != nil {
			return fmt.Errorf("inventory: %w", err)
		}
		if next.Name != name {
			return fmt.Errorf("inventory: image %q cannot stand in for %q", next.Name, name)
		}
	}
	if err := inv.write(ctx, func(tx pgx.Tx) error { return swap(ctx, tx, name, prev, next) }); err != nil {
		return fmt.Errorf("inventory: swap %s: %w", name, err)
	}
	return nil
}

func swap(ctx context.Context, tx pgx.Tx, name, prev string, next *inventory.Image) error {
	// One swap of a name at a time, on any machine, also where nothing is live.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 1))`, name); err != nil {
		return err
	}
	wanted := prev
	if next != nil {
		wanted = next.Digest
	}
	var live string
	var retired bool
	err := tx.QueryRow(ctx, `SELECT coalesce((SELECT digest FROM cleanstart_image WHERE name = $1 AND live), ''),
		EXISTS (SELECT FROM cleanstart_image WHERE name = $1 AND digest = $2 AND NOT live)`, name, wanted).Scan(&live, &retired)
	switch {
	case err != nil:
		return err
	case next != nil && live == next.Digest, next == nil && live == "" && retired:
		return nil // done already
	case next != nil && retired:
		return fmt.Errorf("%s: %w", next.Digest, inventory.ErrRetired)
	case live != prev:
		return fmt.Errorf("%w: %q, not %q", inventory.ErrConflict, live, prev)
	}
	if live != "" {
		if err := retire(ctx, tx, name); err != nil {
			return err
		}
	}
	if next == nil {
		return nil
	}
	return insert(ctx, tx, next)
}

func retire(ctx context.Context, tx pgx.Tx, name string) error {
	img, err := one(tx.QueryRow(ctx, `SELECT id, body FROM cleanstart_image WHERE name = $1 AND live`, name))
	if err != nil {
		return err
	}
	names, ecosystems, versions, purls := columns(img)
	_, err = tx.Exec(ctx, `DELETE FROM cleanstart_holds h USING cleanstart_package p,
		unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS c (name, ecosystem, version, purl)
		WHERE h.image = $1 AND h.package = p.id AND p.name = c.name AND p.ecosystem = c.ecosystem AND p.version = c.version AND p.purl = c.purl`,
		int64(img.ID), names, ecosystems, versions, purls)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE cleanstart_image SET live = false, body = NULL WHERE id = $1`, int64(img.ID))
	return err
}

func insert(ctx context.Context, tx pgx.Tx, img *inventory.Image) error {
	body, err := json.Marshal(img)
	if err != nil {
		return err
	}
	var id int64
	err = tx.QueryRow(ctx, `INSERT INTO cleanstart_image (name, digest, live, body) VALUES ($1, $2, true, $3) RETURNING id`,
		img.Name, img.Digest, body).Scan(&id)
	if err != nil {
		return err
	}
	names, ecosystems, versions, purls := columns(img)
	folded, bases := make([]string, len(names)), make([]string, len(names))
	for i, c := range img.Components {
		folded[i] = inventory.Fold(c.Ecosystem, c.Name)
		if c.PURL != "" {
			if bases[i], err = inventory.BasePURL(c.PURL); err != nil {
				return err
			}
		}
	}
	// In one order, so that two images with the same new packages wait for each
	// other and do not deadlock.
	_, err = tx.Exec(ctx, `INSERT INTO cleanstart_package (folded, ecosystem, base, name, version, purl)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS c (folded, ecosystem, base, name, version, purl)
		ORDER BY name COLLATE "C", ecosystem COLLATE "C", version COLLATE "C", purl COLLATE "C" ON CONFLICT DO NOTHING`,
		folded, ecosystems, bases, names, versions, purls)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `INSERT INTO cleanstart_holds (package, image) SELECT p.id, $1 FROM cleanstart_package p
		JOIN unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS c (name, ecosystem, version, purl)
		ON p.name = c.name AND p.ecosystem = c.ecosystem AND p.version = c.version AND p.purl = c.purl`,
		id, names, ecosystems, versions, purls)
	if err == nil && tag.RowsAffected() != int64(len(names)) {
		err = fmt.Errorf("%d of %d components were indexed", tag.RowsAffected(), len(names))
	}
	return err
}

// columns are what components are told apart by.
func columns(img *inventory.Image) (names, ecosystems, versions, purls []string) {
	for _, c := range img.Components {
		names, ecosystems = append(names, c.Name), append(ecosystems, c.Ecosystem)
		versions, purls = append(versions, c.Version), append(purls, c.PURL)
	}
	return names, ecosystems, versions, purls
}

// one reads an image from a row of number and body.
func one(row pgx.Row) (*inventory.Image, error) {
	var id int64
	var body []byte
	if err := row.Scan(&id, &body); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, inventory.ErrNotFound
		}
		return nil, err
	}
	img := &inventory.Image{}
	if err := json.Unmarshal(body, img); err != nil {
		return nil, fmt.Errorf("image %d is damaged: %w", id, err)
	}
	img.ID = inventory.ID(id)
	return img, nil
}

// Live implements [inventory.Inventory].
func (inv *Inventory) Live(ctx context.Context, name string) (*inventory.Image, error) {
	img, err := one(inv.pool.QueryRow(ctx, `SELECT id, body FROM cleanstart_image WHERE name = $1 AND live`, name))
	if err != nil {
		return nil, fmt.Errorf("inventory: %s: %w", name, err)
	}
	return img, nil
}

// Image implements [inventory.Index].
func (inv *Inventory) Image(ctx context.Context, id inventory.ID) (*inventory.Image, error) {
	if id > 1<<31-1 {
		return nil, fmt.Errorf("inventory: image %d: %w", id, inventory.ErrNotFound)
	}
	img, err := one(inv.pool.QueryRow(ctx, `SELECT id, body FROM cleanstart_image WHERE id = $1 AND live`, int64(id)))
	if err != nil {
		return nil, fmt.Errorf("inventory: image %d: %w", id, err)
	}
	return img, nil
}

// All implements [inventory.Inventory]. It reads a part at a time, so that no
// transaction stays open while the caller works.
func (inv *Inventory) All(ctx context.Context) iter.Seq2[*inventory.Image, error] {
	return func(yield func(*inventory.Image, error) bool) {
		const batch = 256
		for last := inventory.ID(0); ; {
			rows, err := inv.pool.Query(ctx, `SELECT id, body FROM cleanstart_image WHERE id > $1 AND live ORDER BY id LIMIT $2`, int64(last), batch)
			if err == nil {
				var part []*inventory.Image
				part, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (*inventory.Image, error) { return one(r) })
				for _, img := range part {
					if !yield(img, nil) {
						return
					}
					last = img.ID
				}
				if err == nil && len(part) < batch {
					return
				}
			}
			if err != nil {
				yield(nil, fmt.Errorf("inventory: %w", err))
				return
			}
		}
	}
}

// versions are the distinct packages that a name or a base purl may mean.
const versions = `SELECT p.ecosystem, p.name, p.version, p.purl, p.base, array_agg(h.image ORDER BY h.image)
	FROM cleanstart_package p JOIN cleanstart_holds h ON h.package = p.id
	WHERE p.folded = ANY($1) OR (p.base = $2 AND $2 <> '') GROUP BY p.id`

type found struct {
	inventory.Posting
	base string
}

func (inv *Inventory) find(ctx context.Context, folded []string, base string) ([]found, error) {
	rows, err := inv.pool.Query(ctx, versions, folded, base)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (found, error) {
		var f found
		var ids []int32
		err := r.Scan(&f.Ecosystem, &f.Component, &f.Version, &f.PURL, &f.base, &ids)
		f.Images = make([]inventory.ID, len(ids))
		for i, id := range ids {
			f.Images[i] = inventory.ID(id)
		}
		return f, err
	})
}

// Versions implements [inventory.Index].
func (inv *Inventory) Versions(ctx context.Context, name, purl string) ([]inventory.Posting, error) {
	base, folded, err := query(name, purl)
	if err != nil {
		return nil, err
	}
	list, err := inv.find(ctx, folded, base)
	if err != nil {
		return nil, fmt.Errorf("inventory: versions of %s %s: %w", name, purl, err)
	}
	var out []inventory.Posting
	for _, f := range list {
		byName := name != "" && inventory.Fold(f.Ecosystem, f.Component) == inventory.Fold(f.Ecosystem, name)
		if byName || base != "" && f.base == base {
			out = append(out, f.Posting)
		}
	}
	slices.SortFunc(out, inventory.Posting.Compare)
	return out, nil
}

func query(name, purl string) (base string, folded []string, err error) {
	if purl != "" {
		if base, err = inventory.BasePURL(purl); err != nil {
			return "", nil, fmt.Errorf("inventory: %w", err)
		}
	}
	if name != "" && !strings.ContainsRune(name, 0) { // no name holds one, and no text either
		folded = inventory.Folds(name)
	}
	return base, folded, nil
}

// Select implements [inventory.Selector].
func (inv *Inventory) Select(ctx context.Context, p inventory.Package, affected func(version string) bool) (inventory.Set, error) {
	base, folded, err := query(p.Name, p.PURL)
	if err != nil {
		return nil, err
	}
	list, err := inv.find(ctx, folded, base)
	if err != nil {
		return nil, fmt.Errorf("inventory: %s %s: %w", p.Name, p.PURL, err)
	}
	var ids inventory.List
	for _, f := range list {
		byName := p.Name != "" && f.Ecosystem == p.Ecosystem && inventory.Fold(f.Ecosystem, f.Component) == inventory.Fold(p.Ecosystem, p.Name)
		if (byName || base != "" && f.base == base) && affected(f.Version) {
			ids = append(ids, f.Images...)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Cursor implements [inventory.Cursors].
func (inv *Inventory) Cursor(ctx context.Context, feed string) ([]byte, error) {
	var cursor []byte
	err := inv.pool.QueryRow(ctx, `SELECT cursor FROM cleanstart_cursor WHERE feed = $1`, feed).Scan(&cursor)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("inventory: cursor of %s: %w", feed, err)
	}
	return cursor, nil
}

// SetCursor implements [inventory.Cursors].
func (inv *Inventory) SetCursor(ctx context.Context, feed string, cursor []byte) error {
	err := inv.write(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO cleanstart_cursor VALUES ($1, $2) ON CONFLICT (feed) DO UPDATE SET cursor = excluded.cursor`, feed, cursor)
		return err
	})
	if err != nil {
		return fmt.Errorf("inventory: cursor of %s: %w", feed, err)
	}
	return nil
}
