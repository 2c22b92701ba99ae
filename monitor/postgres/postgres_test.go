package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/monitor/inventory"
	"github.com/cleanstart/cleanstart/monitor/monitortest"
)

// schema makes an empty schema and returns a connection string that uses it.
func schema(t testing.TB) string {
	t.Helper()
	dsn := os.Getenv("CLEANSTART_POSTGRES")
	if dsn == "" {
		need.Skip(t, "a PostgreSQL server", "CLEANSTART_POSTGRES names none")
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("cleanstart_%s_%d", strings.ToLower(strings.NewReplacer("/", "_", "#", "_").Replace(t.Name())), os.Getpid())
	quoted := pgx.Identifier{name}.Sanitize()
	if _, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+quoted+" CASCADE; CREATE SCHEMA "+quoted); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := conn.Exec(ctx, "DROP SCHEMA "+quoted+" CASCADE")
		if err := errors.Join(err, conn.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	if !strings.Contains(dsn, "://") {
		return dsn + " search_path=" + name
	}
	sep := "?"
	if strings.Contains(dsn, "?") {
		sep = "&"
	}
	return dsn + sep + "search_path=" + name
}

func TestPostgresIsAnInventory(t *testing.T) {
	dsn := schema(t)
	err := monitortest.CheckInventory(t.Context(), func() (inventory.Inventory, func() error, error) {
		inv, err := Open(t.Context(), dsn)
		if err != nil {
			return nil, nil, err
		}
		return inv, inv.Close, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestTwoMonitors lets two that do not know each other open, add and replace the
// same images with the same new packages.
func TestTwoMonitors(t *testing.T) {
	dsn := schema(t)
	ctx := t.Context()
	var wg sync.WaitGroup
	errs := make([]error, 4)
	won := make([]int, 4)
	for m := range errs {
		wg.Go(func() {
			inv, err := Open(ctx, dsn)
			if err != nil {
				errs[m] = err
				return
			}
			defer inv.Close()
			for i := range 40 {
				img := monitortest.Image(fmt.Sprint("image", i), fmt.Sprintf("d%d-%d", i, m), fmt.Sprintf("p%d 1", (i*7+m)%11), fmt.Sprintf("q%d 1", (i*5)%13))
				switch err := inv.Swap(ctx, img.Name, "", img); {
				case err == nil:
					won[m]++
				case !errors.Is(err, inventory.ErrConflict):
					errs[m] = errors.Join(errs[m], err)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if n := won[0] + won[1] + won[2] + won[3]; n != 40 {
		t.Errorf("%d swaps of 40 images won", n)
	}
}

func TestCursor(t *testing.T) {
	inv, err := Open(t.Context(), schema(t))
	if err != nil {
		t.Fatal(err)
	}
	defer inv.Close()
	if c, err := inv.Cursor(t.Context(), "f"); c != nil || err != nil {
		t.Errorf("Cursor of nothing = %q, %v", c, err)
	}
	for _, want := range [][]byte{{0, 1, 0xff}, []byte("two")} {
		if err := inv.SetCursor(t.Context(), "f", want); err != nil {
			t.Fatal(err)
		}
		if c, err := inv.Cursor(t.Context(), "f"); !bytes.Equal(c, want) || err != nil {
			t.Errorf("Cursor = %q, %v, want %q", c, err, want)
		}
	}
}

func TestOpenRefusesAnotherFormat(t *testing.T) {
	dsn := schema(t)
	inv, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inv.pool.Exec(t.Context(), `UPDATE cleanstart_meta SET value = 'other/2'`); err != nil {
		t.Fatal(err)
	}
	inv.Close()
	if _, err := Open(t.Context(), dsn); err == nil {
		t.Error("tables of another format were opened")
	}
	if _, err := Open(t.Context(), "postgres://127.0.0.1:1/nothing?connect_timeout=2"); err == nil {
		t.Error("a server that is not there was opened")
	}
}

// BenchmarkSelect asks for one package of a thousandth of the full portfolio.
func BenchmarkSelect(b *testing.B) {
	inv, err := Open(b.Context(), schema(b))
	if err != nil {
		b.Fatal(err)
	}
	defer inv.Close()
	p := monitortest.NewPortfolio(0.0005)
	for img, err := range p.Part(0, p.Images) {
		if err == nil {
			err = inv.Swap(b.Context(), img.Name, "", img)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		i++
		a := p.Advisory(i)
		if _, err := inv.Select(b.Context(), a.Package, func(string) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
}
