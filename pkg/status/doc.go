// Package status decides what forges are told and sees to it that it arrives: commit statuses and one comment per pull
// request.
//
// What is to be said is a row that is written in the transaction that makes it true, and overwritten by what is newer;
// sending is a job of the queue. So a report is never lost, an old one never follows a new one, and nothing is sent when
// nothing changed. The package renders comments; what they are about is given to it.
package status
