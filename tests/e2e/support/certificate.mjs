// A certificate authority of a test's own, and a certificate by it.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const settings = (names) => `
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = ${names.map((name) => (/^[\d.]+$|:/.test(name) ? `IP:${name}` : `DNS:${name}`)).join(', ')}
`;

/** Writes `ca.pem`, `certificate.pem` and `key.pem` for `names` (host names and addresses) into `folder`; returns their paths. */
export function makeCertificate(folder, names) {
  const path = (name) => join(folder, name);
  writeFileSync(path('openssl.cnf'), settings(names));
  const make = (name, section, out, key, ...signed) =>
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-config', path('openssl.cnf'), '-extensions', section, '-subj', `/CN=${name}`, '-days', '30'],
        ...['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', path(key), '-out', path(out), ...signed],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
  make('callgate test CA', 'ca', 'ca.pem', 'ca-key.pem');
  make(names[0], 'server', 'certificate.pem', 'key.pem', '-CA', path('ca.pem'), '-CAkey', path('ca-key.pem'));
  return { ca: path('ca.pem'), certificate: path('certificate.pem'), key: path('key.pem') };
}
