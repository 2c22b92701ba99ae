// Package vex turns an [analyze.Report] into OpenVEX: one statement per CVE
// and component, each with the proof it rests on.
//
// [Decide] is the decision table D1 to D9 of ARCHITECTURE.md: a candidate
// stays affected until one complete negative proof exists. There are no
// scores and no votes, an error anywhere is Unknown, and what layer 3
// observed can only raise.
package vex
