package wsframe_test

import (
	"fmt"
	"testing"

	"github.com/taskfeed/taskfeed/internal/wsframe"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

const (
	good       = "Hello-µ@ßöäüàá-UTF-8!!"
	kosme      = "κόσμε"
	surrogate  = "\xed\xa0\x80"     // U+D800, which UTF-8 may not hold
	beyond     = "\xf4\x90\x80\x80" // U+110000, the first code point that there is not
	incomplete = "\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80"
)

// Group 6: what is text and what is not.
func TestAutobahn06UTF8(t *testing.T) {
	t.Parallel()
	octets := inFragments(kosme, 1)
	cases := []autobahn{
		{"6.1.1 empty text", script(send(text(""))), alive, 1},
		{"6.1.2 three empty fragments", script(send(begin(""), more(""), last(""))), alive, 1},
		{"6.1.3 three fragments, the middle one not empty", script(send(begin(""), more("ping"), last("")), textPongs), alive, 0},
		{"6.2.1 one frame", script(send(text(good))), alive, 1},
		{"6.2.2 two fragments, cut between code points", script(send(begin(good[:7]), last(good[7:]))), alive, 1},
		{"6.2.3 fragments of one octet", script(send(inFragments(good, 1)...)), alive, 1},
		{"6.2.4 fragments of one octet, all of two octets as text", script(send(octets...)), alive, 1},
		{"6.2.4 fragments of one octet, octet by octet", script(chop(1, octets...)), alive, 1},
	}
	for name, s := range map[string]string{"": kosme + surrogate + "edited", " beyond Unicode": kosme + beyond + "edited"} {
		cases = append(cases,
			autobahn{"6.3.1 one frame" + name, script(send(text(s))), wsframe.CloseInvalidData, 0},
			autobahn{"6.3.2 fragments of one octet" + name, script(send(inFragments(s, 1)...)), wsframe.CloseInvalidData, 0})
	}
	for i, sequence := range sequences {
		for j, s := range sequence.texts {
			tc := autobahn{fmt.Sprintf("%s.%d %+q", sequence.number, j+1, s), script(send(text(s))), alive, 1}
			if !sequence.valid {
				tc.end, tc.ignored = wsframe.CloseInvalidData, 0
			}
			if (i+j)%2 == 1 && len(s) > 1 { // every other one in pieces
				tc.script = script(send(inFragments(s, 1)...))
			}
			cases = append(cases, tc)
		}
	}
	playAll(t, cases)
}

// A text fails with the first octet that shows that it is none: the client sends
// no more than that and waits.
func TestAutobahn06FailsFast(t *testing.T) {
	t.Parallel()
	partly := func(payload string, sent int) act { // a frame of which only so many bytes of payload are sent
		f := text(payload)
		return act{send: []wstest.Frame{{Fin: f.Fin, Op: f.Op, Payload: f.Payload[:sent], Announced: uint64(len(f.Payload))}}}
	}
	playAll(t, []autobahn{
		{"6.4.1 the second fragment is no text", script(send(begin(kosme)), send(more(beyond))), wsframe.CloseInvalidData, 0},
		{"6.4.2 the second fragment ends inside what is no code point", script(send(begin(kosme+"\xf4")), send(more("\x90"))), wsframe.CloseInvalidData, 0},
		{"6.4.3 one frame, cut before its end after what is no code point", script(partly(kosme+beyond+"edited", len(kosme+beyond))), wsframe.CloseInvalidData, 0},
		{"6.4.4 one frame, cut inside what is no code point", script(partly(kosme+beyond+"edited", len(kosme)+2)), wsframe.CloseInvalidData, 0},
		{"6.4.4 the same, octet by octet", script(chop(1, partly(kosme+beyond+"edited", len(kosme)+2).send...)), wsframe.CloseInvalidData, 0},
		{"6.4.4 one frame, cut after a surrogate's second octet", script(partly(kosme+surrogate+"edited", len(kosme)+2)), wsframe.CloseInvalidData, 0},
		{"6.4.4 one frame, cut after an octet that never occurs", script(partly("\xff"+kosme, 1)), wsframe.CloseInvalidData, 0},
		{"6.4.1 a last fragment that ends inside a code point", script(send(begin(kosme), last("\xe2\x82"))), wsframe.CloseInvalidData, 0},
		{"6.4.1 an empty last fragment inside a code point", script(send(begin(kosme+"\xe2\x82"), last(""))), wsframe.CloseInvalidData, 0},
		{"6.4.1 a code point over a ping", script(send(begin(kosme+"\xe2"), ping("x")), pongs("x"), send(more("\x82"), last("\xac"))), alive, 1},
	})
}

// sequences are the texts of groups 6.5 to 6.23, after Markus Kuhn's stress test
// of UTF-8 decoders.
var sequences = []struct {
	number string
	valid  bool
	texts  []string
}{
	{"6.5 valid", true, []string{good, "$¢€𤭢", kosme, "𝄞𝄢𝄪", "ßöäüàá"}},
	{"6.6 a valid text cut between code points", true, []string{"κ", "κό", "κόσ", "κόσμ", "κόσμε"}},
	{"6.6 a valid text cut inside a code point", false, []string{"\xce", "κ\xe1", "κ\xe1\xbd", "κό\xcf", "κόσ\xce", "κόσμ\xce"}},
	{"6.7 first code point of a length", true, []string{"\x00", "\u0080", "\u0800", "\U00010000"}},
	{"6.8 first sequence of five and six octets", false, []string{"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80"}},
	{"6.9 last code point of a length", true, []string{"\x7f", "\u07ff", "\uffff", "\U0010ffff"}},
	{"6.10 last sequence of four, five and six octets", false, []string{"\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf"}},
	{"6.11 other boundaries", true, []string{"\ud7ff", "\ue000", "\ufffd", "\U0010ffff"}},
	{"6.11 the first code point that there is not", false, []string{beyond}},
	{"6.12 continuation octets out of place", false, []string{"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\x80\xbf\x80\xbf", "\x80\xbf\x80\xbf\x80",
		"\x80\xbf\x80\xbf\x80\xbf", "\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\xbe"}},
	{"6.13 lonely start octets", false, []string{"\xc0 \xc1 \xc2 \xde \xdf ", "\xe0 \xe1 \xee \xef ", "\xf0 \xf1 \xf6 \xf7 ", "\xf8 \xf9 \xfa \xfb ", "\xfc \xfd ", "\xc2 ", "\xe1 ", "\xf1 "}},
	{"6.14 the last octet missing", false, []string{"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80", "\xfc\x80\x80\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf",
		"\xfb\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf", "\xf4\x8f\xbf"}},
	{"6.15 incomplete sequences in a row", false, []string{incomplete}},
	{"6.16 octets that never occur", false, []string{"\xfe", "\xff", "\xfe\xfe\xff\xff"}},
	{"6.17 overlong ASCII", false, []string{"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf"}},
	{"6.18 the last overlong sequences", false, []string{"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf"}},
	{"6.19 overlong NUL", false, []string{"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80"}},
	{"6.20 single surrogates", false, []string{"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf"}},
	{"6.21 paired surrogates", false, []string{"\xed\xa0\x80\xed\xb0\x80", "\xed\xa0\x80\xed\xbf\xbf", "\xed\xad\xbf\xed\xb0\x80", "\xed\xad\xbf\xed\xbf\xbf",
		"\xed\xae\x80\xed\xb0\x80", "\xed\xae\x80\xed\xbf\xbf", "\xed\xaf\xbf\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf"}},
	{"6.22 code points that are no characters", true, nonCharacters()},
	{"6.23 specials", true, []string{"\ufff9", "\ufffa", "\ufffb", "\ufffc", "\ufffd", "\ufffe", "\uffff"}},
}

// nonCharacters are the last two code points of each plane.
func nonCharacters() []string {
	var texts []string
	for plane := rune(0); plane <= 16; plane++ {
		texts = append(texts, string(plane<<16|0xfffe), string(plane<<16|0xffff))
	}
	return texts
}
