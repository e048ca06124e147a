// Package request is what all handlers of the HTTP edge share: who asks, what for,
// and how the answer is written.
//
//   - Reading: [Params] reads the parameters of a request and refuses what is wrong
//     with them, [Negotiate] chooses the form of the answer, [Origins] decides which
//     web pages may ask, [ClientAddr] finds the address of the client behind proxies,
//     [HeaderToken] finds the token.
//   - Admission: a [Guard] verifies the token and limits how often its user may ask,
//     a [Gate] limits how many requests run and how much memory their answers hold.
//   - Answering: [WriteJSON] and [WritePage] write documents, [WriteProblem] writes
//     the problem document of an error, [Reply] holds the client to a pace.
//
// The package knows no URL and reads no data; middleware and routes are httpapi's.
package request
