// An OpenID Connect provider of the tests' own. It is told everything on its standard input, as one JSON document:
//   port, audience, keys (private, as JWKs), clients, lifetime of an access token in seconds
import { text } from 'node:stream/consumers';
import Provider from 'oidc-provider';

const told = JSON.parse(await text(process.stdin));
const provider = new Provider(`http://127.0.0.1:${told.port}`, {
  clients: told.clients,
  clientDefaults: { id_token_signed_response_alg: told.keys[0].alg },
  jwks: { keys: told.keys },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => ({
        scope: 'pilots',
        audience: resource,
        accessTokenFormat: 'jwt',
        accessTokenTTL: told.lifetime,
        jwt: { sign: { alg: told.keys[0].alg } },
      }),
    },
  },
});
provider.listen(told.port, '127.0.0.1', () => console.log('ready'));
