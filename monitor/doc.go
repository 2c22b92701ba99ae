// Package monitor keeps released images free of known vulnerabilities: it
// takes what a feed of advisories says is new, finds the images of the
// portfolio that hold an affected component, plans the smallest rebuild that
// carries the fix, has it built, checks that nothing else changed, and puts
// the new image in the old one's place. [Step] is one turn of that loop.
//
// # Words
//
// A finding is one advisory about one component of one live image. A plan is
// one rebuild of one image: which components are exchanged for which versions,
// which others must be rebuilt because they need them, and which must come out
// byte for byte the same. A release is an image that was rebuilt as planned
// and took its predecessor's place.
//
// # Truth and repetition
//
// The ledger is the truth about what was decided and done; the inventory says
// what is live, and the feed's cursor only saves work. They are written in
// that order: findings are in the ledger before the cursor moves on, and a
// release is in the ledger before the inventory changes. A step that was cut
// off anywhere is therefore taken up by the next one, which does each thing
// again that the ledger does not show as done, and no plan is released twice:
// its key is a digest of the image, its base and the exchanged versions. What
// an embedder provides ([Rebuilder], [Publisher]) is called at least once per
// plan and must give the same result for the same key.
//
// # What counts as affected
//
// A version that an advisory's ranges cannot place counts as affected. A
// record that cannot be read stops neither the others nor the alarm: it is
// reported, it stays pending, and the result says that the picture is
// incomplete. An advisory without a fix stays open against its deadline and
// is reported as such; silence is never an answer.
//
// # As a service
//
// [Service] is the same loop as a durable workflow. A turn finds what is
// affected and queues assessments, builds and releases; workers carry them out
// stage by stage through a [Pipeline] that the embedder supplies. Jobs, ledger,
// portfolio and cursors are in one [queue.Store]: what changes and the entry
// that says so are one transaction, so that a process that is killed anywhere
// goes on with the stage that was not finished. Package embedded is a store in
// one file. Releases that exchange the same components share one build.
//
// An image leaves only with all 78 tests passed, after another look at the
// newest records, and only onto the digest that it was planned for. What fails
// keeps the old image and opens an incident. People pause, approve, retry and
// cancel by [Service.Order]. [Service.Admit] says, whenever it is asked, whether
// an image may be used; [PullGate] asks it for a registry.
//
// # What is not done yet
//
// A dashboard, jobs and ledger in PostgreSQL, and moving the tag of an image
// whose deadline has passed: it is flagged, and [PullGate] refuses it.
package monitor
