// Runs one part of the client's surface against a server: node run.js PART SETTINGS, with the settings as JSON:
// {"mainServiceURL", "authServiceURL", "pluginServiceURL", "login", "password"}. The last line of a part that went well is "done".
const DeviceHive = require('devicehive');

const SECONDS = 30;
const [part, settings] = process.argv.slice(2);
const options = JSON.parse(settings);

class Client extends DeviceHive {
    constructor(credentials = {}) {
        super({ ...options, ...credentials });
        this.overHttp = options.mainServiceURL.startsWith('http');
        this.seen = [];
        this.errors = [];
        this.on(DeviceHive.MESSAGE_EVENT, message => this.seen.push(message));
        this.on(DeviceHive.ERROR_EVENT, error => this.errors.push(error));
    }

    // What a subscription has brought so far.
    of(subscriptionId) {
        return this.seen.filter(message => message.subscriptionId === subscriptionId);
    }

    // Waits until that is true of what has been seen.
    async until(condition, what) {
        const end = Date.now() + SECONDS * 1000;
        while (!await condition()) {
            if (Date.now() > end) {
                throw new Error(`${what} did not come; seen: ${JSON.stringify(this.seen)}, errors: ${this.errors}`);
            }
            await new Promise(resolve => setTimeout(resolve, 5));
        }
    }
}

async function run() {
    const hive = new Client();
    await hive.connect();
    await require(`./parts/${part}`)({ hive, Client, models: DeviceHive.models });
    console.log('done');
}

run().then(() => process.exit(0), error => {
    console.error(error);
    process.exit(1);
});
