package crowd

import (
	"io"
	"testing"
)

// A client counts what comes, answers pings, and goes to the other server with its cursor
// when its connection is lost, and on when that one is busy.
func TestClient(t *testing.T) {
	t.Parallel()
	one, two := serveFake(t), serveFake(t)
	state := start(t, one.addr, two.addr)
	first := one.accept(t)
	defer first.Close()
	if first.query != "" {
		t.Errorf("the first time the client asks for %q, want no cursor", first.query)
	}
	event := frame(`{"id":8,"type":"x"}`)
	first.send(t, switching[:20], switching[20:]+frame(`{"type":"feed_live","cursor":7}`)+event[:9], event[9:]+"\x89\x02hi")
	pong := make([]byte, 8)
	if _, err := io.ReadFull(first.in, pong); err != nil || string(pong[6:]) != "hi" {
		t.Fatalf("got % x, %v, want a pong", pong, err)
	}
	await(t, state, "a live client with an event", func(s State) bool { return s.Live == 1 && s.Events == 1 && s.LastLive > 0 && s.LastEvent >= s.LastLive })
	first.Close()

	busy := two.accept(t)
	if busy.query != "after=8" {
		t.Errorf("the client comes back with %q, want its cursor 8", busy.query)
	}
	busy.send(t, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n")
	busy.Close()
	again := one.accept(t)
	defer again.Close()
	again.send(t, switching+event+frame(`{"type":"feed_reset","reason":"expired","cursor":9}`)+frame(`{"type":"feed_live","cursor":9}`))
	await(t, state, "what was wrong to be counted", func(s State) bool {
		return s.Live == 1 && s.Lost == 1 && s.Refused == 1 && s.Resets == 1 && s.Disorder == 1 && s.Events == 2 && s.Failure == ""
	})
}

// A server that refuses for good is named.
func TestRefused(t *testing.T) {
	t.Parallel()
	one := serveFake(t)
	state := start(t, one.addr)
	conn := one.accept(t)
	defer conn.Close()
	conn.send(t, "HTTP/1.1 401 Unauthorized\r\n\r\n")
	await(t, state, "a failure", func(s State) bool { return s.Refused == 1 && s.Failure != "" })
}

// Clients of one server spread over all others when it dies.
func TestClientsSpread(t *testing.T) {
	t.Parallel()
	const servers, clients = 5, 400
	l := &loop{crowd: &crowd{}, clients: make([]client, clients)}
	for range servers {
		l.servers = append(l.servers, nil)
	}
	var on [servers]int
	for i := range l.clients {
		l.clients[i].server = uint8(i % servers)
		if i%servers == 0 {
			l.move(i)
			on[l.clients[i].server]++
		}
	}
	for s, got := range on {
		if want := clients / servers / (servers - 1); got != want && s != 0 || s == 0 && got != 0 {
			t.Errorf("server %d: got %d of the clients of server 0, want %d, and none that stay", s, got, want)
		}
	}
}
