// An SMSC by npm smpp, which is not ours: takes messages, refuses some, tells what became of them, and is gone once.
//
//   smsc.js FILE
//
// Prints `listening HOST:PORT` once it takes connections. Each `submit_sm` is a JSON line in FILE before it is answered:
// destination, data_coding, what stands before and in the text, the status of the answer, and the message's id.
// A number decides its own fate by its last two digits: 01 is refused (0x0B), 02 is throttled (0x58) the first time,
// 03 is not delivered, 04 has its receipt before its answer, 05 its receipt twice, 06 answers STOP. The 300th
// `submit_sm` is taken, and the connection ends instead of an answer.
"use strict";

const fs = require("fs");
const smpp = require("smpp");

const [file] = process.argv.slice(2);
const throttled = new Set();
let count = 0;

function status(destination) {
  const fate = destination.slice(-2);
  if (fate === "01") return smpp.ESME_RINVDSTADR;
  if (fate === "02" && !throttled.has(destination)) {
    throttled.add(destination);
    return smpp.ESME_RTHROTTLED;
  }
  return smpp.ESME_ROK;
}

function receipt(pdu, id) {
  const stat = pdu.destination_addr.endsWith("03") ? "UNDELIV" : "DELIVRD";
  const error = stat === "DELIVRD" ? "000" : "001";
  return {
    esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT,
    source_addr: pdu.destination_addr,
    destination_addr: pdu.source_addr,
    short_message:
      `id:${id} sub:001 dlvrd:001 submit date:2611220000 done date:2611220001 stat:${stat} err:${error} text:`,
  };
}

function stop(pdu) {
  return { source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, short_message: "Stop" };
}

function submit(session, pdu) {
  count += 1;
  const id = String(count).padStart(8, "0");
  const answer = status(pdu.destination_addr);
  const line = {
    destination: pdu.destination_addr,
    data_coding: pdu.data_coding,
    header: Buffer.concat(pdu.short_message.udh || []).toString("hex"),
    text: pdu.short_message.message,
    status: answer,
    id,
  };
  fs.appendFileSync(file, JSON.stringify(line) + "\n");
  if (count === 300) return session.destroy();
  if (answer !== smpp.ESME_ROK) return session.send(pdu.response({ command_status: answer }));
  const fate = pdu.destination_addr.slice(-2);
  const deliver = () => session.deliver_sm(receipt(pdu, id));
  if (fate === "04") deliver();
  session.send(pdu.response({ message_id: id }));
  if (fate !== "04") deliver();
  if (fate === "05") deliver();
  if (fate === "06") session.deliver_sm(stop(pdu));
}

const server = smpp.createServer((session) => {
  session.on("bind_transceiver", (pdu) => {
    const known = pdu.system_id === "user" && pdu.password === "pass";
    session.send(pdu.response({ command_status: known ? smpp.ESME_ROK : smpp.ESME_RBINDFAIL, system_id: "npm" }));
    if (!known) session.close();
  });
  session.on("submit_sm", (pdu) => submit(session, pdu));
  session.on("enquire_link", (pdu) => session.send(pdu.response()));
  session.on("unbind", (pdu) => {
    session.send(pdu.response());
    session.close();
  });
  session.on("error", () => session.destroy());
});

server.listen(0, "127.0.0.1", () => {
  const { address, port } = server.address();
  console.log(`listening ${address}:${port}`);
});
