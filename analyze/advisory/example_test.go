package advisory_test

import (
	"fmt"
	"testing/fstest"

	"github.com/cleanstart/cleanstart/analyze/advisory"
)

// A record of one's own, with conditions: what upstream says is needed for the
// flaw, in a form that a machine checks in each build.
func ExampleLoad() {
	db, err := advisory.Load(fstest.MapFS{"CVE-0000-1.json": {Data: []byte(`{
	  "schema_version": "1.7.3", "id": "CVE-0000-1", "modified": "2026-01-01T00:00:00Z",
	  "affected": [{
	    "ranges": [{"type": "SEMVER", "events": [{"introduced": "2.0.0"}, {"fixed": "2.6.4"}]}],
	    "ecosystem_specific": {
	      "component": "expat",
	      "map": "reviewed",
	      "imports": [{"path": "lib/xmlparse.c", "symbols": ["XML_ResumeParser"]}],
	      "conditions": [
	        {"quote": "Only applications that resume a suspended parser are affected.",
	         "api": ["XML_ResumeParser"]},
	        {"quote": "Builds without support for DTDs are not affected.",
	         "any": [{"macro": {"file": "lib/xmlparse.c", "name": "XML_DTD"}},
	                 {"macro": {"file": "lib/xmlparse.c", "name": "XML_GE", "value": "1"}}]}
	      ]
	    }
	  }]}`)}})
	if err != nil {
		panic(err)
	}
	in, out, err := db.Match("expat", "2.6.2", "")
	fmt.Println(len(in), len(out), err)
	fmt.Println(in[0].Advisory.ID, len(in[0].Advisory.Map.Conditions), in[0].Reason)
	// Output:
	// 1 0 <nil>
	// CVE-0000-1 2 inside introduced 2.0.0, fixed 2.6.4
}
