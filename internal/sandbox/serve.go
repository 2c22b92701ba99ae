package sandbox

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/cleanstart/cleanstart/internal/sandbox/first"
)

// Init is the hook: a program that calls it says that it may be re-executed
// as the first process of a sandbox. In such a process it takes over and does
// not return; in any other it returns at once. Nothing must run before it in
// main: it would run in the sandbox too.
func Init() {
	hooked.Store(true)
	if first.Is() {
		os.Exit(first.Main(serve))
	}
}

// serverAddress is fixed: the namespace is the sandbox's own, and a port that
// changed would show in what programs print.
const serverAddress = "127.0.0.1:18080"

// serve answers GET for the files until the sandbox ends.
func serve(s *Server) (base string, err error) {
	l, err := net.Listen("tcp4", serverAddress)
	if err != nil {
		return "", err
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := s.Files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header()["Date"] = nil // the same answer at any time
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body)
	})
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second}
	go srv.Serve(l) // joined by the end of the process, which ends the namespace
	return "http://" + l.Addr().String(), nil
}
