package trace

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

// target is one file of the plan.
type target struct {
	path     string // as the plan names it
	resolved string // without symbolic links, as the kernel names it
	segments []elf.ProgHeader
	points   map[uint64]*point
	order    []uint64 // addresses, sorted
}

// point is one breakpoint, over all processes.
type point struct {
	original byte
	armed    bool
	hit      bool
}

// image is one executable segment of a target, mapped.
type image struct {
	target   *target
	low, end uint64 // run-time addresses
	bias     uint64 // run-time minus link-time address
}

// kernelName is the file's path as the kernel names it in a process's maps.
func kernelName(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
}

// resolve opens the plan's files and checks every address.
func resolve(plan *Plan) ([]*target, error) {
	if plan == nil {
		return nil, errors.New("trace: no plan")
	}
	targets := make([]*target, 0, len(plan.Files))
	for _, f := range plan.Files {
		resolved, err := kernelName(f.Path)
		if err != nil {
			return nil, fmt.Errorf("trace: %s: %w", f.Path, err)
		}
		segments, err := executable(resolved)
		if err != nil {
			return nil, fmt.Errorf("trace: %s: %w", f.Path, err)
		}
		t := &target{path: f.Path, resolved: resolved, segments: segments, points: make(map[uint64]*point, len(f.Addresses))}
		for _, a := range f.Addresses {
			if segment(segments, a) == nil {
				return nil, fmt.Errorf("trace: %s: address %#x lies in no executable segment", f.Path, a)
			}
			if t.points[a] == nil {
				t.points[a] = &point{}
				t.order = append(t.order, a)
			}
		}
		sort.Slice(t.order, func(i, j int) bool { return t.order[i] < t.order[j] })
		targets = append(targets, t)
	}
	return targets, nil
}

// executable is the file's executable segments.
func executable(name string) ([]elf.ProgHeader, error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("is for %v, not for this machine", f.Machine)
	}
	var segments []elf.ProgHeader
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			segments = append(segments, p.ProgHeader)
		}
	}
	return segments, nil
}

func segment(segments []elf.ProgHeader, addr uint64) *elf.ProgHeader {
	for i := range segments {
		if p := &segments[i]; addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return p
		}
	}
	return nil
}

// find is the planned breakpoint at a run-time address.
func (s *space) find(pc uint64) (*target, uint64) {
	for i := range s.images {
		if m := &s.images[i]; pc >= m.low && pc < m.end {
			if a := pc - m.bias; m.target.points[a] != nil {
				return m.target, a
			}
		}
	}
	return nil, 0
}

// mapping is one executable line of /proc/PID/maps.
type mapping struct {
	low, end, offset uint64
	path             string
}

// parseMaps reads the executable, file-backed mappings.
func parseMaps(r io.Reader) ([]mapping, error) {
	var out []mapping
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), " ", 6)
		if len(f) < 6 || len(f[1]) < 4 || f[1][2] != 'x' {
			continue
		}
		path := strings.TrimLeft(f[5], " ")
		if !strings.HasPrefix(path, "/") {
			continue
		}
		lo, hi, _ := strings.Cut(f[0], "-")
		m := mapping{path: path}
		var errs [3]error
		m.low, errs[0] = strconv.ParseUint(lo, 16, 64)
		m.end, errs[1] = strconv.ParseUint(hi, 16, 64)
		m.offset, errs[2] = strconv.ParseUint(f[2], 16, 64)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("maps: %q: %w", sc.Text(), err)
		}
		out = append(out, m)
	}
	return out, sc.Err()
}

// scan arms what is mapped in the task's address space and was not before.
func (t *tracer) scan(tid int) error {
	s := t.tasks[tid].space
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", tid))
	if err != nil {
		return err
	}
	maps, err := parseMaps(f)
	f.Close()
	if err != nil {
		return err
	}
	// A file that was unmapped is armed again when it comes back.
	s.images = slices.DeleteFunc(s.images, func(i image) bool {
		return !slices.ContainsFunc(maps, func(m mapping) bool {
			return m.low <= i.low && i.low < m.end && m.path == i.target.resolved
		})
	})
	for _, m := range maps {
		if s.rendezvous == 0 {
			if err := t.meet(tid, s, m); err != nil {
				return err
			}
		}
		for _, target := range t.targets {
			if target.resolved != m.path {
				continue
			}
			if err := t.arm(tid, s, target, m); err != nil {
				return fmt.Errorf("%s: %w", target.path, err)
			}
		}
	}
	return nil
}

// arm inserts the target's breakpoints that lie in the mapping.
func (t *tracer) arm(tid int, s *space, target *target, m mapping) error {
	var seg *elf.ProgHeader
	for i := range target.segments {
		if p := &target.segments[i]; m.offset >= p.Off&^(pageSize-1) && m.offset < p.Off+p.Filesz {
			seg = p
		}
	}
	if seg == nil {
		return nil
	}
	bias := m.low - m.offset - (seg.Vaddr - seg.Off)
	n := image{target: target, low: m.low, end: m.end, bias: bias}
	for _, old := range s.images {
		if old == n {
			return nil
		}
	}
	s.images = append(s.images, n)

	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", tid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	order := target.order
	order = order[sort.Search(len(order), func(i int) bool { return order[i] >= m.low-bias }):]
	order = order[:sort.Search(len(order), func(i int) bool { return order[i] >= m.end-bias })]
	var page [pageSize]byte
	for len(order) > 0 {
		start := (order[0] + bias) &^ (pageSize - 1)
		n := sort.Search(len(order), func(i int) bool { return order[i]+bias >= start+pageSize })
		if _, err := mem.ReadAt(page[:], int64(start)); err != nil {
			return fmt.Errorf("read the text at %#x: %w", start, err)
		}
		before := page
		for _, a := range order[:n] {
			p, at := target.points[a], a+bias-start
			if p.hit || page[at] == breakpoint {
				continue
			}
			p.original, p.armed = page[at], true
			page[at] = breakpoint
		}
		if page != before {
			if _, err := mem.WriteAt(page[:], int64(start)); err != nil {
				return fmt.Errorf("write the text at %#x: %w", start, err)
			}
		}
		order = order[n:]
	}
	return nil
}

const breakpoint = 0xCC // int3

// linker is the rendezvous of a dynamic linker's file, by link-time address;
// zero when it has none.
type linker struct {
	state, ret uint64
	segments   []elf.ProgHeader
}

// meet sets the rendezvous when the mapping is a dynamic linker's text: a
// breakpoint that stays, on _dl_debug_state, which the linker calls whenever
// it has changed its list of files and before it runs their constructors. The
// task is sent to a ret instruction instead, so nothing is stepped over.
func (t *tracer) meet(tid int, s *space, m mapping) error {
	l, ok := t.linkers[m.path]
	if !ok {
		l = readLinker(fmt.Sprintf("/proc/%d/root%s", tid, m.path))
		t.linkers[m.path] = l
	}
	if l.state == 0 {
		return nil
	}
	seg := segment(l.segments, l.state)
	if seg == nil || m.offset != seg.Off&^(pageSize-1) {
		return nil
	}
	bias := m.low - m.offset - (seg.Vaddr - seg.Off)
	if l.state+bias >= m.end || l.ret+bias >= m.end {
		return nil
	}
	if _, err := unix.PtracePokeText(tid, uintptr(l.state+bias), []byte{breakpoint}); err != nil {
		return fmt.Errorf("rendezvous in %s: %w", m.path, err)
	}
	s.rendezvous, s.ret = l.state+bias, l.ret+bias
	return nil
}

// readLinker looks for a _dl_debug_state that only returns. Whatever cannot
// be read is not a dynamic linker.
func readLinker(name string) (l linker) {
	f, err := elf.Open(name)
	if err != nil || f.Type != elf.ET_DYN || f.Machine != elf.EM_X86_64 {
		return l
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return l
	}
	l.segments, _ = executable(name)
	for _, sym := range symbols {
		if sym.Name != "_dl_debug_state" || sym.Section == elf.SHN_UNDEF {
			continue
		}
		code := readSegment(f, sym.Value)
		switch {
		case bytes.HasPrefix(code, []byte{0xF3, 0x0F, 0x1E, 0xFA, 0xC3}): // endbr64; ret
			l.state, l.ret = sym.Value, sym.Value+4
		case bytes.HasPrefix(code, []byte{0xC3}): // any later C3 byte is a ret too
			if i := bytes.IndexByte(code[1:], 0xC3); i >= 0 {
				l.state, l.ret = sym.Value, sym.Value+1+uint64(i)
			}
		}
	}
	return l
}

// readSegment is up to 64 KiB of the file from a link-time address on.
func readSegment(f *elf.File, addr uint64) []byte {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			b := make([]byte, min(p.Filesz-(addr-p.Vaddr), 64<<10))
			n, _ := p.ReadAt(b, int64(addr-p.Vaddr))
			return b[:n]
		}
	}
	return nil
}
