// A mail server by npm smtp-server, which advertises PIPELINING and judges each recipient by itself.
//
//   smtp_server.js FILE
//
// Prints `listening HOST:PORT` once it takes connections. A mail is a JSON line in FILE, its envelope and its subject,
// before it is answered with 250. A recipient decides its own fate by the beginning of its address: `reject` is refused
// for good (550), `defer` put off once (451), `full` put off every time (452), and to `leave` the server says 421 once
// and ends the connection.
"use strict";

const fs = require("fs");
const { SMTPServer } = require("smtp-server");

const [file] = process.argv.slice(2);
const seen = new Set();

function refusal(code, message) {
  return Object.assign(new Error(message), { responseCode: code });
}

function judge(address) {
  const first = !seen.has(address);
  seen.add(address);
  if (address.startsWith("reject")) return refusal(550, "5.1.1 no such mailbox");
  if (address.startsWith("defer") && first) return refusal(451, "4.7.1 try again later");
  if (address.startsWith("full")) return refusal(452, "4.2.2 mailbox full");
  if (address.startsWith("leave") && first) return refusal(421, "4.3.2 going away");
  return null;
}

const server = new SMTPServer({
  name: "npm.test",
  authOptional: true,
  disabledCommands: ["AUTH", "STARTTLS"],
  disableReverseLookup: true,
  logger: false,
  onRcptTo: ({ address }, session, done) => done(judge(address)),
  onData: (stream, session, done) => {
    const chunks = [];
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("end", () => {
      const head = Buffer.concat(chunks).toString().split("\r\n\r\n")[0];
      const subject = /^Subject: (.*)$/im.exec(head);
      const { mailFrom, rcptTo } = session.envelope;
      const line = { from: mailFrom.address, to: rcptTo.map((to) => to.address), subject: subject && subject[1] };
      fs.appendFileSync(file, JSON.stringify(line) + "\n");
      done(null, "2.0.0 taken");
    });
  },
});

// A client that ends its connection while an answer is on its way is no reason to end.
server.on("error", () => {});
server.listen(0, "127.0.0.1", () => {
  const { address, port } = server.server.address();
  console.log(`listening ${address}:${port}`);
});
