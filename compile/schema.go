package compile

import _ "embed"

//go:embed spec.schema.json
var specSchema string

// SpecSchema is the JSON Schema (draft 2020-12) of a specification's YAML
// file, for editors: put "# yaml-language-server: $schema=PATH" on the first
// line of the file. It says less than [LoadSpec] checks, never more.
func SpecSchema() []byte { return []byte(specSchema) }
