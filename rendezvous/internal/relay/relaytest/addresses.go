package relaytest

// Addresses lists addresses, and whether a relay whose machine has the address 93.184.216.1 may relay to them.
var Addresses = []struct {
	Address   string
	Permitted bool
}{
	{"8.8.8.8", true},
	{"1.1.1.1", true},
	{"93.184.216.34", true},
	{"::ffff:8.8.8.8", true},
	{"2606:4700:4700::1111", true},
	{"2002:808:808::1", true},                          // 6to4 of 8.8.8.8
	{"64:ff9b::808:808", true},                         // NAT64 of 8.8.8.8
	{"2001:0:808:808:0:0:f7f7:f7f7", true},             // Teredo, server and client 8.8.8.8
	{"2606:4700::5efe:808:808", true},                  // ISATAP of 8.8.8.8
	{"93.184.216.1", false},                            // this machine
	{"::ffff:93.184.216.1", false},                     // this machine, mapped
	{"64:ff9b::5db8:d801", false},                      // this machine, NAT64
	{"0.0.0.0", false},                                 // CVE-2020-26262
	{"0.1.2.3", false},                                 //
	{"::", false},                                      //
	{"::1", false},                                     //
	{"127.0.0.1", false},                               //
	{"127.255.255.254", false},                         //
	{"::ffff:127.0.0.1", false},                        // CVE-2026-27624
	{"::7f00:1", false},                                // v4-compatible 127.0.0.1
	{"64:ff9b::7f00:1", false},                         // NAT64 127.0.0.1
	{"64:ff9b:1::7f00:1", false},                       // local-use NAT64
	{"64:ff9b:1::808:808", false},                      //
	{"2002:7f00:1::1", false},                          // 6to4 127.0.0.1
	{"2002:a00:1::1", false},                           // 6to4 10.0.0.1
	{"2002:a9fe:a9fe::1", false},                       // 6to4 metadata
	{"2001:0:a00:1:0:0:f7f7:f7f7", false},              // Teredo server 10.0.0.1
	{"2001:0:808:808:0:0:80ff:fffe", false},            // Teredo client 127.0.0.1
	{"2606:4700::5efe:7f00:1", false},                  // ISATAP 127.0.0.1
	{"2606:4700::200:5efe:a00:1", false},               // ISATAP 10.0.0.1, with the u bit
	{"fe80::5efe:a00:1", false},                        //
	{"10.0.0.1", false},                                //
	{"10.255.255.255", false},                          //
	{"172.16.0.1", false},                              //
	{"172.31.255.255", false},                          //
	{"192.168.0.1", false},                             //
	{"::ffff:192.168.0.1", false},                      //
	{"64:ff9b::c0a8:1", false},                         //
	{"100.64.0.1", false},                              //
	{"100.127.255.255", false},                         //
	{"169.254.169.254", false},                         // metadata
	{"::ffff:169.254.169.254", false},                  //
	{"64:ff9b::a9fe:a9fe", false},                      //
	{"::a9fe:a9fe", false},                             //
	{"192.0.0.192", false},                             // metadata (Oracle)
	{"192.0.2.1", false},                               //
	{"192.88.99.1", false},                             //
	{"198.18.0.1", false},                              //
	{"198.19.255.255", false},                          //
	{"198.51.100.1", false},                            //
	{"203.0.113.1", false},                             //
	{"224.0.0.1", false},                               //
	{"239.255.255.250", false},                         //
	{"240.0.0.1", false},                               //
	{"255.255.255.255", false},                         //
	{"fe80::1", false},                                 //
	{"fec0::1", false},                                 //
	{"fc00::1", false},                                 //
	{"fd00:ec2::254", false},                           // metadata (AWS)
	{"ff02::1", false},                                 //
	{"2001:db8::1", false},                             //
	{"3fff::1", false},                                 //
	{"100::1", false},                                  //
	{"2606:4700::1%eth0", false},                       //
	{"::ffff:0:127.0.0.1", false},                      // SIIT
	{"::ffff:10.0.0.1", false},                         //
	{"64:ff9b::e000:1", false},                         // NAT64 multicast
	{"2002:e000:1::1", false},                          // 6to4 multicast
	{"2001:0:7f00:1:0:0:f7f7:f7f7", false},             // Teredo server 127.0.0.1
	{"2606:4700:0:0:0:5efe:169.254.169.254", false},    // ISATAP metadata
	{"64:ff9b::169.254.169.254", false},                //
	{"2001:0000:a9fe:a9fe:ffff:ffff:5601:5601", false}, // Teredo, both metadata
}
