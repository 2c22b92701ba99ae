package vex

import (
	govex "github.com/openvex/go-vex/pkg/vex"

	"github.com/cleanstart/cleanstart/analyze"
)

// Decision is the row of the decision table that one finding ended in.
type Decision struct {
	ID            string              `json:"id"`
	Aliases       []string            `json:"aliases,omitempty"`
	Component     string              `json:"component"`
	Version       string              `json:"version"`
	PURL          string              `json:"purl"`
	Rule          string              `json:"rule"` // D2 to D9
	Status        govex.Status        `json:"status"`
	Justification govex.Justification `json:"justification,omitempty"`
	Reason        string              `json:"reason"` // one sentence for people
	Quote         string              `json:"quote,omitempty"`
	Notes         []string            `json:"notes,omitempty"`
	Premises      map[string]string   `json:"premises"` // name → digest; the statement dies when one changes
	Finding       *analyze.Finding    `json:"-"`
}
