package compile

import "github.com/cleanstart/cleanstart/source"

// Spec is an image as data: it marshals, compares and prints, and holds no
// handles. [LoadSpec] reads one from YAML.
type Spec struct {
	Name       string      `json:"name"`
	Platform   string      `json:"platform"` // GOOS/GOARCH; linux/amd64 is the one supported today
	Profile    string      `json:"profile"`  // hardening profile, see package harden; "openssf" when empty
	Toolchain  []string    `json:"toolchain,omitempty"`
	Components []Component `json:"components"` // in dependency order once loaded
	Image      ImageSpec   `json:"image"`
}

// Component is what to verify, how to build it, and what it needs.
type Component struct {
	source.Component
	Needs  []string `json:"needs,omitempty"` // names of components whose dev part it compiles against
	Recipe Recipe   `json:"recipe"`
	// Provides names what this component stands in for during builds of
	// others; the only value known today is "libc".
	Provides string `json:"provides,omitempty"`
	// Runtime holds path.Match patterns, or directories, of installed files
	// that go into the image. Empty: the component ships no file of its own.
	Runtime []string `json:"runtime,omitempty"`
	// Licenses names the licence files in the source tree.
	Licenses []string `json:"licenses,omitempty"`
}

// Recipe says how a component is configured, compiled and installed. The
// system decides the commands; the lists add arguments to each.
type Recipe struct {
	System    string            `json:"system"`              // configure, cmake, make, go or shell
	Script    string            `json:"script,omitempty"`    // configure: the script's name when it is not ./configure
	Configure []string          `json:"configure,omitempty"` // arguments after the system's own
	Make      []string          `json:"make,omitempty"`
	Install   []string          `json:"install,omitempty"` // default: install
	Steps     []string          `json:"steps,omitempty"`   // shell: each run by /bin/sh -e
	Env       map[string]string `json:"env,omitempty"`
	// Excise names C functions to be compiled out: each definition gets a trap
	// for a body, from the same verified source, and the function and inlined
	// copies of it are in no object any more. A call to one ends the process.
	Excise []string `json:"excise,omitempty"`
}

// ImageSpec is the configuration of the image.
type ImageSpec struct {
	Entrypoint []string          `json:"entrypoint"`
	Cmd        []string          `json:"cmd,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	User       string            `json:"user"` // numeric uid:gid, not 0; "65532:65532" when empty
	WorkDir    string            `json:"workdir,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Workload   []Run             `json:"workload,omitempty"` // what layer 3 observes
	Checks     []Run             `json:"checks,omitempty"`   // functionality checks
	Waivers    []Waiver          `json:"waivers,omitempty"`
}

// Run is one process started in the image's root file system. The argument
// "{server}" stands for the base URL of a local HTTP server that the runner
// starts inside the sandbox.
type Run struct {
	Name   string   `json:"name"`
	Args   []string `json:"args"` // absolute path first
	Exit   int      `json:"exit,omitempty"`
	Stdout string   `json:"stdout,omitempty"` // substring that standard output must hold
}

// Waiver excuses one test by name until a date.
type Waiver struct {
	Test   string `json:"test"`
	Reason string `json:"reason"`
	Until  string `json:"until"` // 2006-01-02
}
