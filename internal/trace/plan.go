// Package trace runs a program under one-shot breakpoints: each is armed once
// by ptrace, reported on its first hit and removed, so that a traced program
// runs at full speed after the first hit of each address. It follows threads,
// fork, exec and dlopen, and needs no privilege over its own children.
package trace

// Plan names the breakpoints. It is data: it crosses into a sandbox as JSON.
type Plan struct {
	Files []File `json:"files"`
}

// File is one ELF file and the addresses to observe in it.
type File struct {
	Path      string   `json:"path"`      // absolute, as the traced process sees it
	Addresses []uint64 `json:"addresses"` // link-time virtual addresses (st_value), each the first byte of an instruction
}

// Result is what one run showed.
type Result struct {
	Hits  []Hit `json:"hits"`  // sorted by path and address; each pair once
	Armed int   `json:"armed"` // breakpoints that were inserted at least once
	Exit  int   `json:"exit"`  // exit status of the root process; 128+signal when killed
}

// Hit is one address that was executed.
type Hit struct {
	Path    string `json:"path"`
	Address uint64 `json:"address"`
}
