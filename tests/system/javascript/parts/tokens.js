const assert = require('assert').strict;

// The client renews its tokens by itself when it hears "Token expired".
async function renewal(Client, UserToken) {
    const client = await new Client().connect();
    const { accessToken } = await client.token.createUserToken(new UserToken({
        userId: 1, actions: ['*'], networkIds: ['*'], deviceTypeIds: ['*'], expiration: new Date(Date.now() + 1500),
    }));
    const first = client.accessToken;
    await client.strategy.authorize(accessToken);
    let answers = 0;
    await client.until(async () => {
        answers += (await client.network.list()).length;
        return client.accessToken !== first;
    }, 'a new access token');
    assert.ok(answers > 0);
    client.disconnect();
}

module.exports = async ({ hive, Client, models: { Device, UserToken } }) => {
    await hive.device.add(new Device({ id: 'pump', name: 'Pump', networkId: 1, deviceTypeId: 1 }));
    const { accessToken, refreshToken } = await hive.token.createUserToken(new UserToken({
        userId: 1, actions: ['GetDevice'], networkIds: ['1'], deviceTypeIds: ['*'], expiration: new Date(Date.now() + 60000),
    }));
    for (const credentials of [{ accessToken }, { refreshToken }]) {
        const client = await new Client({ ...credentials, login: undefined, password: undefined, autoUpdateSession: false }).connect();
        assert.equal((await client.device.get('pump')).id, 'pump');
        await assert.rejects(client.device.delete('pump'));
        client.disconnect();
    }
    assert.equal(typeof (await hive.token.refresh(refreshToken)).accessToken, 'string');
    await assert.rejects(hive.token.login('dhadmin', 'wrong'));
    await assert.rejects(new Client({ password: 'wrong' }).connect());
    await renewal(Client, UserToken);
};
