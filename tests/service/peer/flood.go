package main

import (
	"encoding/binary"
	"flag"
	"math/rand"
	"net"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/gogo/protobuf/proto"
)

func frame(length, stream uint32, kind, flags byte, payload []byte) []byte {
	header := make([]byte, 10, 10+len(payload))
	binary.BigEndian.PutUint32(header, length)
	binary.BigEndian.PutUint32(header[4:], stream)
	header[8], header[9] = kind, flags
	return append(header, payload...)
}

func whole(stream uint32, payload []byte) []byte {
	return frame(uint32(len(payload)), stream, 1, 0, payload)
}

func request(service, method string, payload []byte) []byte {
	bytes, _ := proto.Marshal(&ttrpc.Request{Service: service, Method: method, Payload: payload})
	return bytes
}

// A message of a million empty metadata entries: two bytes each on the wire, a hundred in a decoder's memory.
func bomb() []byte {
	payload := make([]byte, 0, 2<<20)
	for i := 0; i < 1<<20; i++ {
		payload = append(payload, 0x2a, 0x00)
	}
	return payload
}

func garbage(random *rand.Rand, size int) []byte {
	bytes := make([]byte, size)
	random.Read(bytes)
	return bytes
}

// Every kind of bad frame; what is sent is followed by a close.
func kinds(random *rand.Rand) [][]byte {
	good := request("api.ImagePullService", "PullImage", nil)
	return [][]byte{
		frame(uint32(len(good)), 1, 2, 0, good),       // a response
		frame(uint32(len(good)), 1, 3, 0, good),       // data of a stream
		frame(uint32(len(good)), 1, 0, 0, good),       // no type
		frame(uint32(len(good)), 1, 1, 2, good),       // a stream is opened
		frame(uint32(len(good)), 1, 1, 255, good),     // all flags
		frame(uint32(len(good)), 0, 1, 0, good),       // stream 0
		frame(4<<20+1, 1, 1, 0, nil),                  // one byte too many
		frame(0xffffffff, 1, 1, 0, nil),               // four gigabytes
		whole(1, good)[:random.Intn(10)],              // part of a header
		frame(4<<20, 1, 1, 0, garbage(random, 2000)),  // part of a large payload
		whole(1, good)[:10+random.Intn(len(good))],    // part of a payload
		whole(1, garbage(random, 1+random.Intn(500))), // no protobuf
		whole(1, nil),  // nothing
		whole(2, good), // even
		append(whole(5, good), whole(5, good)...),                                        // twice the same
		append(whole(5, good), whole(3, good)...),                                        // falling
		whole(1, request("", "", nil)),                                                   // no names
		whole(1, request("api.ImagePullService", "x\n", nil)),                            // no name
		whole(1, append(request("api.GetResourceService", "GetResource", nil), good...)), // two services
		whole(1, request("api.ImagePullService", "PullImage", garbage(random, 300))),
		whole(1, request("api.ImagePullService", "Pull", nil)),
		garbage(random, 1+random.Intn(4000)),
	}
}

// flood sends bad frames, each over a connection of its own, some of them slowly.
func flood(arguments []string) error {
	flags := flag.NewFlagSet("flood", flag.ExitOnError)
	socket := flags.String("socket", "", "")
	count := flags.Int("count", 10000, "")
	seed := flags.Int64("seed", 1, "")
	flags.Parse(arguments)
	random := rand.New(rand.NewSource(*seed))
	large := bomb()
	for i := 0; i < *count; i++ {
		conn, err := net.Dial("unix", *socket)
		if err != nil {
			return err
		}
		all := kinds(random)
		bytes := all[i%len(all)]
		switch {
		case i%500 == 0:
			bytes = whole(1, large)
		case i%501 == 0:
			bytes = whole(1, make([]byte, 4<<20))
		}
		if i%97 == 0 && len(bytes) < 100 {
			for at := range bytes {
				conn.Write(bytes[at : at+1])
				time.Sleep(time.Millisecond)
			}
		} else {
			conn.Write(bytes)
		}
		if i%3 == 0 { // wait for what it says, or for its close
			conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			conn.Read(make([]byte, 4096))
		}
		conn.Close()
	}
	return report(map[string]int{"sent": *count})
}
