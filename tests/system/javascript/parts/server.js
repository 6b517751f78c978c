const assert = require('assert').strict;

module.exports = async ({ hive, models: { Configuration } }) => {
    assert.equal((await hive.configuration.put(new Configuration({ name: 'color', value: 'red' }))).entityVersion, 1);
    assert.equal((await hive.configuration.put(new Configuration({ name: 'color', value: 'blue' }))).entityVersion, 2);
    assert.equal((await hive.configuration.get('color')).value, 'blue');
    await hive.configuration.delete('color');
    await assert.rejects(hive.configuration.get('color'), error => /not found/.test(error));

    const info = await hive.info.getServerInfo();
    assert.match(info.serverTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}$/);
    assert.equal(Boolean(info.webSocketServerUrl), hive.overHttp);
    assert.deepEqual(await hive.info.getClusterInfo(), { 'bootstrap.servers': 'none', 'zookeeper.connect': 'none' });
    if (hive.overHttp) {
        // The client has no WebSocket action for this.
        assert.equal(typeof (await hive.info.getCacheInfo()).serverTimestamp, 'string');
    }
};
