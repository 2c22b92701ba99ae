// Package analyze turns an image, the record of how it was built, its verified
// trees and a set of advisories into a [Report]: findings with evidence from
// four layers, and the results of the test suite.
//
// # Layers
//
// A version match only makes a candidate. Each [Layer] adds facts about the
// vulnerable functions of the advisory: ast (the source that was compiled),
// binary (what was linked), reach (what was seen running) and usage (what
// could run). A layer answers [Present], [Absent] or [Unknown] with a reason;
// a layer that was skipped or failed is Unknown, never Absent.
//
// # What is not promised
//
// A layer decides nothing. Package vex holds the one table that turns facts
// into a status, and an observation can only raise a finding.
package analyze
