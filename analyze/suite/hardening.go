package suite

import (
	"context"
	"debug/elf"
	"fmt"
	"strings"

	"github.com/cleanstart/cleanstart/analyze"
)

var hardeningTests = []Test{
	feature("pie", analyze.Present, "Executables are position-independent",
		"without it code lies at known addresses, and return-oriented attacks need no leak", "CWE-119"),
	feature("relro", analyze.Present, "Relocated data is read-only",
		"a writable GOT turns one stray write into control of the program", "CWE-123"),
	feature("bind-now", analyze.Present, "All symbols are bound at start",
		"lazy binding keeps the GOT writable for as long as the program runs", "CWE-123"),
	feature("nx", analyze.Present, "The stack is not executable",
		"an executable stack runs what an overflow writes there", "CWE-119"),
	feature("canary", analyze.Present, "Functions check a stack canary",
		"a linear overflow reaches the return address unseen", "CWE-121"),
	feature("fortify", analyze.Present, "Library calls are fortified",
		"sizes that the compiler knows are not checked at run time", "CWE-120"),
	feature("stack-clash", analyze.Present, "Large stack frames are probed",
		"one large allocation jumps over the guard page into other memory", "CWE-789"),
	feature("cet-ibt", analyze.Present, "Indirect branches have landing pads",
		"an indirect call can be bent to any address, also where the processor could refuse it", "CWE-691"),
	feature("cet-shstk", analyze.Present, "A shadow stack can be enforced",
		"return addresses can be replaced, also where the processor could refuse it", "CWE-121"),
	feature("rpath", analyze.Absent, "No library search path is built in",
		"whoever can write to that path chooses the program's code", "CWE-426"),
	feature("textrel", analyze.Absent, "Code needs no relocation",
		"text relocations make code pages writable"),
	{
		ID: "hardening/examined", Family: Hardening, Run: examined,
		Title:   "Every ELF file was examined",
		Asserts: "each file of the image that starts as an ELF file can be read and has hardening facts",
		Why:     "a file that the analysis skipped is not hardened, it is unknown",
	},
	{
		ID: "hardening/wx-segment", Family: Hardening, Run: wxSegment,
		Title:   "No segment is writable and executable",
		Asserts: "no loadable segment carries both permissions",
		Why:     "what can be written and run is a place for injected code",
		Refs:    []string{"CWE-119"},
	},
	{
		ID: "hardening/machine", Family: Hardening, Run: machine,
		Title:   "Every ELF file is for the image's platform",
		Asserts: "each ELF file is of the machine that the configuration names",
		Why:     "a file for another machine was not built by this build",
	},
	{
		ID: "hardening/stripped", Family: Hardening, Run: stripped,
		Title:   "No debug information is shipped",
		Asserts: "no ELF file holds .symtab or .debug sections",
		Why:     "symbols cost space and map the program for an attacker; analysis has its own copies",
	},
	{
		ID: "hardening/closed", Family: Hardening, Run: closed,
		Title:   "Every needed library and interpreter is in the image",
		Asserts: "each interpreter is a file of the image, and each needed library is one by its name",
		Why:     "what is missing at start fails there, or is found where nobody looked for it",
		Refs:    []string{"CWE-427"},
	},
}

// feature is the test of one hardening fact of every ELF file.
func feature(name string, want analyze.Verdict, title, why string, refs ...string) Test {
	return Test{
		ID: "hardening/" + name, Title: title, Family: Hardening, Why: why, Refs: refs,
		Asserts: fmt.Sprintf("the fact %q of every ELF file is %s; unknown is not enough", name, want),
		Run: func(_ context.Context, s *Subject) Outcome {
			if len(s.ELF) == 0 {
				return notApplicable("the image holds no ELF file")
			}
			var wrong []string
			known := false
			for _, e := range s.ELF {
				f, ok := s.Protection[e.Path][name]
				if !ok {
					f.Detail = "not examined"
				}
				known = known || f.Verdict != analyze.Unknown
				if f.Verdict != want {
					wrong = append(wrong, strings.TrimSuffix(fmt.Sprintf("%s: %s is %s: %s", e.Path, name, f.Verdict, f.Detail), ": "))
				}
			}
			if s.Record == nil && !known {
				return notApplicable("no build record") // of which some facts are read
			}
			return verdict(wrong, "%d ELF files", len(s.ELF))
		},
	}
}

// eachELF applies check, which says what is wrong or "".
func eachELF(s *Subject, check func(e ELF) string) Outcome {
	if len(s.ELF) == 0 {
		return notApplicable("the image holds no ELF file")
	}
	var wrong []string
	for _, e := range s.ELF {
		why := ""
		if e.Err != "" {
			why = "cannot be read: " + e.Err
		} else {
			why = check(e)
		}
		if why != "" {
			wrong = append(wrong, e.Path+": "+why)
		}
	}
	return verdict(wrong, "%d ELF files", len(s.ELF))
}

func examined(_ context.Context, s *Subject) Outcome {
	if s.Record == nil && len(s.Protection) == 0 {
		return notApplicable("no hardening facts were given")
	}
	return eachELF(s, func(e ELF) string {
		if len(s.Protection[e.Path]) == 0 {
			return "was not examined"
		}
		return ""
	})
}

func wxSegment(_ context.Context, s *Subject) Outcome {
	return eachELF(s, func(e ELF) string {
		loads := 0
		for _, p := range e.Progs {
			if p.Type != elf.PT_LOAD {
				continue
			}
			loads++
			if p.Flags&elf.PF_W != 0 && p.Flags&elf.PF_X != 0 {
				return fmt.Sprintf("the segment at %#x is writable and executable", p.Vaddr)
			}
		}
		if loads == 0 && (e.Type == elf.ET_EXEC || e.Type == elf.ET_DYN) {
			return "has no loadable segment"
		}
		return ""
	})
}

// machines are the values of Config.Architecture that a build can name.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "arm": elf.EM_ARM, "386": elf.EM_386,
	"riscv64": elf.EM_RISCV, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "loong64": elf.EM_LOONGARCH,
}

func machine(_ context.Context, s *Subject) Outcome {
	want, ok := machines[s.Config.Architecture]
	return eachELF(s, func(e ELF) string {
		if !ok || e.Machine != want {
			return fmt.Sprintf("is for %s, the image for %q", e.Machine, s.Config.Architecture)
		}
		return ""
	})
}

func stripped(_ context.Context, s *Subject) Outcome {
	return eachELF(s, func(e ELF) string {
		for _, name := range e.Sections {
			if name == ".symtab" || strings.HasPrefix(name, ".debug_") || strings.HasPrefix(name, ".zdebug_") {
				return "holds section " + name
			}
		}
		return ""
	})
}

func closed(_ context.Context, s *Subject) Outcome {
	have := map[string]bool{}
	for name := range s.Files {
		have[name[strings.LastIndexByte(name, '/')+1:]] = true
	}
	return eachELF(s, func(e ELF) string {
		if e.Interp != "" {
			if _, ok := s.resolve(e.Interp); !ok {
				return "its interpreter " + e.Interp + " is not in the image"
			}
		}
		for _, lib := range e.Needed {
			if !have[lib] {
				return "needs " + lib + ", which is not in the image"
			}
		}
		return ""
	})
}
