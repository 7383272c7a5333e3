// Package stagetest holds what the tests of stages share: a disk that can
// misbehave, a path with a delay, and a driver.
package stagetest
