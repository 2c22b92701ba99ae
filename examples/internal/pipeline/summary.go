package pipeline

import (
	"fmt"
	"io"
	"path/filepath"
	"sort"
)

// Summary prints what a run found and what to do next.
func Summary(w io.Writer, j *Judged, out string) {
	r := j.Image.Record
	fmt.Fprintf(w, "\nimage      %s\n", r.Image.Manifest)
	for _, l := range r.Image.Layers {
		fmt.Fprintf(w, "layer      %s  %s, %d file(s), %d bytes\n", short(l.Digest), l.Component, len(l.Files), l.Size)
	}
	fmt.Fprintf(w, "tests      %d run, %d failed\n", len(j.Report.Tests), len(j.Failures()))
	for _, scan := range j.Report.Scans {
		fmt.Fprintf(w, "source     %s: %d rules over %d units, %d finding(s), %d unit(s) not read\n", scan.Component, scan.Rules,
			scan.Units, len(scan.Found)+scan.MoreFound, len(scan.Skipped)+scan.MoreSkipped)
	}
	silenced := j.Count("not_affected", "fixed")
	fmt.Fprintf(w, "advisories %d read, %d outside upstream's range, %d match by version\n",
		j.Report.Advisories.Records, len(j.Report.Excluded), len(j.Decisions))
	fmt.Fprintf(w, "findings   %d proved not to apply (%s), %d under investigation, %d affected\n",
		silenced, rules(j), j.Count("under_investigation"), j.Count("affected"))
	for _, d := range j.Decisions {
		if d.Status == "affected" {
			fmt.Fprintf(w, "           affected  %s  %s %s\n", d.ID, d.Component, d.Version)
		}
	}
	fmt.Fprintf(w, `
next:
  look         %s
  check        go run ./examples/verify %s
  with cosign  cosign verify --key %[3]s/cosign.pub --trusted-root %[3]s/trusted_root.json --use-signed-timestamps --insecure-ignore-tlog --local-image %[3]s/oci
`, filepath.Join(out, "report.html"), out, out)
}

// rules counts the silenced findings by the row of the decision table.
func rules(j *Judged) string {
	by := map[string]int{}
	for _, d := range j.Decisions {
		if d.Status == "not_affected" || d.Status == "fixed" {
			by[d.Rule]++
		}
	}
	if len(by) == 0 {
		return "none"
	}
	names := make([]string, 0, len(by))
	for r := range by {
		names = append(names, r)
	}
	sort.Strings(names)
	text := ""
	for i, r := range names {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s: %d", r, by[r])
	}
	return text
}
