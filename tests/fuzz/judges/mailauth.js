// Verifies samples with mailauth. Prints a JSON object: for each sample "pass" or the reason.
const fs = require('fs');
const { dkimVerify } = require('mailauth/lib/dkim/verify');

async function main(folder) {
    const verdicts = {};
    for (const file of fs.readdirSync(folder).filter((name) => name.endsWith('.json')).sort()) {
        const facts = JSON.parse(fs.readFileSync(`${folder}/${file}`));
        const resolver = async (name, type) => {
            if (type === 'TXT' && name.replace(/\.$/, '').toLowerCase() === facts.name.toLowerCase() && facts.records.length) {
                return facts.records.map((record) => [record]);
            }
            throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' });
        };
        const sample = file.slice(0, -5);
        try {
            const message = fs.readFileSync(`${folder}/${sample}.eml`);
            const { results } = await dkimVerify(message, { resolver });
            const status = results.map((r) => `${r.status.result} ${r.status.comment || ''}`.trim());
            verdicts[sample] = status.some((s) => /^pass/.test(s)) ? 'pass' : status.join(', ');
        } catch (error) {
            verdicts[sample] = `error: ${error.message}`;
        }
    }
    console.log(JSON.stringify(verdicts));
}
main(process.argv[2]);
