package compile

import (
	"context"
	"io"
	"io/fs"
	"time"
)

// Paths inside the sandbox. They are part of every action, so the bytes of an
// output cannot depend on where the host keeps its files.
const (
	SourceDir = "/build/src"     // a private, writable copy of the tree
	OutDir    = "/build/out"     // DESTDIR
	NeedsDir  = "/build/needs"   // NeedsDir/NAME is the dev part of a need, read-only
	TraceDir  = "/build/trace"   // where the compiler wrapper writes
	DebugRoot = "/usr/src/debug" // prefix of source paths in DWARF: DebugRoot/NAME-VERSION
)

// Action is the build of one component, complete: equal actions give equal
// outputs. Its JSON form is canonical (struct order, sorted maps).
type Action struct {
	Component string            `json:"component"`
	Version   string            `json:"version"`
	Tree      string            `json:"tree"`      // digest of the source tree
	Toolchain string            `json:"toolchain"` // digest of the toolchain's root
	Needs     []Need            `json:"needs,omitempty"`
	Commands  []Command         `json:"commands"`
	Env       map[string]string `json:"env"`
	Flags     Flags             `json:"flags"` // what the compiler wrapper adds
	Platform  string            `json:"platform"`
	Epoch     int64             `json:"epoch"` // SOURCE_DATE_EPOCH, seconds
	Runtime   []string          `json:"runtime,omitempty"`
	Licenses  []string          `json:"licenses,omitempty"`
	Excise    []string          `json:"excise,omitempty"` // functions to be compiled out, sorted
	Schema    int               `json:"schema"`           // raised when the executor's meaning of an action changes
}

// Need is one component whose output this action compiles against, by the
// digest of that output: early cutoff follows from this field.
type Need struct {
	Name   string `json:"name"`
	Output string `json:"output"`
}

// Command is one process of an action. There is no shell unless Args names
// one.
type Command struct {
	Args []string `json:"args"`
	Dir  string   `json:"dir"`
}

// Flags are what every compilation and every link of an action receives,
// whatever the upstream build system passes: the wrapper appends them.
type Flags struct {
	Profile string   `json:"profile"`
	Before  []string `json:"before,omitempty"` // before the caller's own, so the caller's win
	Compile []string `json:"compile"`          // after the caller's own, so they win
	Link    []string `json:"link"`             // only for links
	// Libc is the name of the need that is the C library; empty while the C
	// library itself is built. With it set, the wrapper links static-pie
	// against NeedsDir/Libc and never sees the toolchain's own C library.
	Libc string `json:"libc,omitempty"`
}

// Job is an action together with where its inputs lie on this machine. None
// of these paths influence the output.
type Job struct {
	Action    Action
	Source    fs.FS             // the verified tree
	SourceDir string            // the same, as a directory
	Toolchain string            // root directory of the toolchain
	Needs     map[string]string // name → directory of the need's dev part
	Out       string            // an empty directory to fill, with the parts as sub-directories
	Log       io.Writer         // build log, JSON Lines of LogLine; nil discards it
	Jobs      int               // parallel processes; 0 means one per processor
}

// Executor runs actions. An error that comes from the build itself is a
// [*BuildError].
type Executor interface {
	Execute(ctx context.Context, job *Job) (*Result, error)
}

// Result is what one action left behind.
type Result struct {
	Output   Output      `json:"output"`
	Commands []Execution `json:"commands"`
	Units    []Unit      `json:"units"`
	Links    []Link      `json:"links"`
	Hermetic Hermetic    `json:"hermetic"`
	Excised  []Excision  `json:"excised,omitempty"`
}

// Excision is one definition of a function whose body was replaced by a trap,
// and whose name by another, before it was compiled: neither the function nor
// an inlined copy of it is in any object.
type Excision struct {
	Function string `json:"function"`
	Source   string `json:"source"` // path relative to SourceDir, or absolute elsewhere
	Line     int    `json:"line"`
	Object   string `json:"object"` // as in Unit
}

// The parts of an output: sub-directories of Output.Dir.
const (
	PartRuntime  = "runtime"  // goes into the image; ELF files stripped
	PartDev      = "dev"      // headers, archives, .pc files: goes to dependents
	PartDebug    = "debug"    // unstripped ELF files, linker maps, objects: goes to analysis
	PartLicenses = "licenses" // licence texts
)

// LicenseDir is where the runtime part holds a component's licence texts:
// LicenseDir/NAME/FILE.
const LicenseDir = "usr/share/licenses"

// Output is the file tree of a component in parts. Digest covers the parts
// that others can see (runtime, dev, licenses), never debug or logs, so that
// early cutoff is not defeated by what only analysis reads.
type Output struct {
	Digest string          `json:"digest"`
	Parts  map[string]Part `json:"parts"`
	Dir    string          `json:"-"` // where the store keeps it
}

// Part is one part's digest and files, sorted by path.
type Part struct {
	Digest string `json:"digest"`
	Files  []File `json:"files,omitempty"`
}

// File is one file of a part. Mode holds permission bits only.
type File struct {
	Path   string `json:"path"` // slash-separated, relative
	Mode   uint32 `json:"mode"`
	Size   int64  `json:"size"`
	Digest string `json:"digest,omitempty"` // "sha256:HEX"; empty for links
	Link   string `json:"link,omitempty"`   // target of a symbolic link
}

// Execution is a command as it ran.
type Execution struct {
	Command
	Env      map[string]string `json:"env"`
	Exit     int               `json:"exit"`
	Duration time.Duration     `json:"duration"` // wall, nanoseconds
}

// Unit is one translation unit as the compiler wrapper saw it.
type Unit struct {
	Source   string   `json:"source"` // path relative to SourceDir, or absolute elsewhere
	Object   string   `json:"object"`
	Language string   `json:"language"` // c, c++, asm
	Dir      string   `json:"dir"`
	Args     []string `json:"args"`             // the whole command line that reached the compiler
	Digest   string   `json:"digest,omitempty"` // of the object; empty when the compilation failed (configure probes are not recorded)
	// Preprocessed is the unit after the compiler's own preprocessor, with its
	// line markers and macro definitions (gcc -E -dD), gzip-compressed: a path
	// in the debug part. Empty for languages other than C.
	Preprocessed string `json:"preprocessed,omitempty"`
}

// Link is one link of an executable or shared object that was installed.
// Files are named by their path in the debug part.
type Link struct {
	Output     string   `json:"output"`     // path in the runtime part
	Unstripped string   `json:"unstripped"` // path in the debug part, symbols and DWARF intact
	Map        string   `json:"map"`        // GNU ld map, path in the debug part
	Args       []string `json:"args"`
	Dir        string   `json:"dir"`    // where the linker ran: relative names in the map are relative to it
	Inputs     []Input  `json:"inputs"` // every object and archive member that the linker loaded, in load order
}

// Input is one object that was linked in.
type Input struct {
	Path   string `json:"path"`             // object or archive, as the linker saw it
	Member string `json:"member,omitempty"` // archive member
	Object string `json:"object"`           // copy of the object or archive in the debug part
	Digest string `json:"digest"`           // of the object or of the archive member's bytes
	Size   int64  `json:"size"`
	Origin string `json:"origin"`           // component's name, or "toolchain"
	Source string `json:"source,omitempty"` // translation unit, where the record holds it
}

// Hermetic is what the executor measured about its isolation.
type Hermetic struct {
	Interfaces []string `json:"interfaces"` // network interfaces seen from inside; only "lo" (down) is hermetic
	Reached    bool     `json:"reached"`    // a probe got out: never true for a result that is returned
	Namespaces []string `json:"namespaces"`
	UID        int      `json:"uid"`
	Seccomp    bool     `json:"seccomp"`
}

// LogLine is one line of the build log (JSON Lines).
type LogLine struct {
	Seq       int    `json:"seq"`
	Component string `json:"component"`
	Command   int    `json:"command"` // index into Action.Commands
	Stream    string `json:"stream"`  // stdout, stderr, or event
	Text      string `json:"text"`
}

// BuildError is a command of a recipe that failed. Error is one line; %+v
// adds the tail of the log.
type BuildError struct {
	Component string
	Command   Command
	Exit      int
	Tail      []string // last lines of its output
	Log       string   // path of the whole log, where there is one
}
