// A reverse proxy as a Go program gets it from its standard library: the peer that a Go server with a proxy built in is.
//
// By default it has the default transport, which keeps two connections to a host; -kept gives it a transport that keeps
// more. It writes no access log and counts nothing.
package main

import (
	"flag"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "127.0.0.1:0", "address")
	to := flag.String("to", "", "URL of the worker")
	kept := flag.Int("kept", 0, "connections to the worker that are kept; 0: the default transport")
	flag.Parse()

	target, err := url.Parse(*to)
	if err != nil || target.Host == "" {
		log.Fatalf("-to: no URL: %q", *to)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	if *kept > 0 {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConns = *kept
		transport.MaxIdleConnsPerHost = *kept
		proxy.Transport = transport
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, proxy))
}
