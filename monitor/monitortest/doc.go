// Package monitortest checks implementations of the monitor's interfaces:
// inventories, ledgers and feeds. Each check returns what is wrong, all of it,
// in a stable order, or nil.
package monitortest
