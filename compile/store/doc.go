// Package store keeps the results of actions in a directory.
//
// An entry leads from an action's key to its result and to a content: the
// parts and the log, addressed by their digests, so that equal outputs of
// different actions are kept once.
//
//	entries/KEY.json      checksum, action, result, content's name
//	contents/HEX/         runtime, dev, debug, licenses, build-log.jsonl, stamps.json
//	tmp/                  what is being put, one directory for each open store
//	locks/                advisory locks
//
// A result is durable before Put returns. A process that dies at any moment
// leaves either the whole entry or none; what it left in tmp is removed by
// the next Open. Get never returns what differs from the record: a damaged
// entry is removed, and is as if it had never been stored.
//
// Several processes may use one directory at the same time. Only [GC] wants
// it for itself.
package store
