// A client with github.com/emersion/go-milter, the library of maddy. It speaks version 6
// alone. Arguments: see ../../README.md.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/emersion/go-milter"
)

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func number(text string) uint64 {
	value, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		fail(err)
	}
	return value
}

// Ends the program unless the milter continues.
func check(action *milter.Action, err error) {
	if err != nil {
		fail(err)
	}
	switch action.Code {
	case milter.ActContinue:
	case milter.ActReplyCode:
		fmt.Printf("refused %d %s\n", action.SMTPCode, action.SMTPText)
		os.Exit(0)
	case milter.ActAccept:
		fmt.Println("accept")
		os.Exit(0)
	default:
		fail(fmt.Errorf("reply %c", action.Code))
	}
}

func main() {
	socket, sender, file := os.Args[1], os.Args[5], os.Args[6]
	if number(os.Args[2]) != 6 {
		os.Exit(77)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		fail(err)
	}
	client := milter.NewClientWithOptions("unix", socket, milter.ClientOptions{
		ActionMask:   milter.OptAction(number(os.Args[3])),
		// It does not know the reply that SMFIP_SKIP is about.
		ProtocolMask: milter.OptProtocol(number(os.Args[4]) &^ 0x400),
	})
	session, err := client.Session()
	if err != nil {
		fail(err)
	}
	check(session.Conn("[x]", milter.FamilyInet6, 25252, "2001:db8:1::10"))
	check(session.Helo("mail.good.example"))
	check(session.Mail(strings.Trim(sender, "<>"), nil))
	check(session.Rcpt("b@contoso.com", nil))

	header, body, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	var fields []string
	for _, line := range strings.Split(string(header), "\r\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[len(fields)-1] += "\n" + line
		} else {
			fields = append(fields, line)
		}
	}
	keepsSpace := session.ProtocolOption(milter.OptProtocol(0x100000))
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ":")
		if !keepsSpace {
			value = strings.TrimPrefix(value, " ")
		}
		check(session.HeaderField(name, value))
	}
	check(session.HeaderEnd())
	edits, action, err := session.BodyReadFrom(bytes.NewReader(body))
	check(action, err)
	for _, edit := range edits {
		switch {
		case edit.Code == milter.ActInsertHeader:
			fmt.Println("insert", strings.Join(strings.Fields(edit.HeaderValue), " "))
		case edit.Code == milter.ActChangeHeader && edit.HeaderValue == "":
			fmt.Println("remove")
		default:
			fail(fmt.Errorf("edit %c", edit.Code))
		}
	}
	fmt.Println("continue")
}
