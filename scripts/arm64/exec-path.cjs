// The system starts no program of another processor: what runs on arm64 starts its like through node.sh.
process.execPath = require('node:path').join(__dirname, 'node.sh')
