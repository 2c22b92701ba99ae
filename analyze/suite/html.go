package suite

import (
	_ "embed"
	"html/template"
	"io"
)

//go:embed report.html.tmpl
var pageText string

var page = template.Must(template.New("report").Funcs(template.FuncMap{"printable": printable}).Parse(pageText))

// WriteHTML writes the report as one page that needs no script and nothing
// from a network.
func (r *Report) WriteHTML(w io.Writer) error {
	return page.Execute(w, struct {
		*Report
		Families []family
	}{r, r.families()})
}
